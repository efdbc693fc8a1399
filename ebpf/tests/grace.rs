//! Grace periods, also where `membarrier` is not to be had.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use towpath_ebpf::grace;

/// bpf(2).
fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: every attribute below is as long as it says, and outlives the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(answer).unwrap())
}

/// A program that is under way for half a second: it copies a megabyte from one element of an array
/// to the other, over and over. At its end it writes the time into the first. With its map.
fn slow_program() -> (OwnedFd, OwnedFd) {
    let map = bpf(0, &mut [0x4_0000_0002_u64, 0x2_0010_0000]).expect("an array of two megabytes");
    // SAFETY: a descriptor that the kernel just made for us.
    let map = unsafe { OwnedFd::from_raw_fd(map) };
    let op = |code: u64, registers: u64, offset: i16, immediate: i32| {
        let offset = u64::from(offset.cast_unsigned()) << 16;
        code | registers << 8 | offset | u64::from(immediate.cast_unsigned()) << 32
    };
    let code = [
        op(0x62, 0x0a, -4, 0), // the keys
        op(0x62, 0x0a, -8, 1),
        op(0x18, 0x11, 0, map.as_raw_fd()),
        0,
        op(0xbf, 0xa2, 0, 0),
        op(0x07, 0x02, 0, -4),
        op(0x85, 0, 0, 1), // look up the first
        op(0x15, 0x00, 13, 0),
        op(0xbf, 0x06, 0, 0),
        op(0xb7, 0x07, 0, 0),
        op(0x18, 0x11, 0, map.as_raw_fd()),
        0,
        op(0xbf, 0xa2, 0, 0),
        op(0x07, 0x02, 0, -8),
        op(0xbf, 0x63, 0, 0),
        op(0xb7, 0x04, 0, 0),
        op(0x85, 0, 0, 2), // replace the second
        op(0x07, 0x07, 0, 1),
        op(0xa5, 0x07, -9, 10_000), // so many times
        op(0x85, 0, 0, 5),          // the time
        op(0x7b, 0x06, 0, 0),
        op(0xb7, 0x00, 0, 0),
        op(0x95, 0, 0, 0),
    ];
    let mut attr = [0u64; 16];
    attr[0] = 1 | (code.len() as u64) << 32;
    attr[1] = code.as_ptr() as u64;
    attr[2] = c"GPL".as_ptr() as u64;
    let fd = bpf(5, &mut attr).expect("a program");
    // SAFETY: a descriptor that the kernel just made for us.
    (unsafe { OwnedFd::from_raw_fd(fd) }, map)
}

/// Nanoseconds of the clock that programs see, too.
fn now() -> u64 {
    // SAFETY: plain data, for which zero is a value.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes the time.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) }, 0);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

/// Runs it once; when it ended, as it says itself: this thread may be told much later.
fn run((program, map): &(OwnedFd, OwnedFd)) -> u64 {
    #[repr(C)]
    #[derive(Default)]
    struct Run {
        program: u32,
        retval: u32,
        size_in: u32,
        size_out: u32,
        data_in: u64,
        data_out: u64,
        rest: [u64; 5],
    }
    let packet = [0u8; 64];
    let mut attr = Run {
        program: program.as_raw_fd().unsigned_abs(),
        size_in: 64,
        data_in: packet.as_ptr() as u64,
        ..Run::default()
    };
    bpf(10, &mut attr).expect("a run");
    let (key, mut element) = (0u32, vec![0u64; 1 << 17]);
    let map = u64::from(map.as_raw_fd().unsigned_abs());
    bpf(1, &mut [map, (&raw const key) as u64, element.as_mut_ptr() as u64, 0]).expect("the end");
    element[0]
}

/// From here on this thread may not use these system calls.
fn forbid(calls: &[libc::c_long]) {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: 0,
        jf: 0,
        k,
    };
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for call in calls {
        let is =
            statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, u32::try_from(*call).unwrap());
        filter.push(libc::sock_filter { jf: 1, ..is });
        filter
            .push(statement(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()));
    }
    filter.push(statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW));
    let program =
        libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: the filter outlives the call.
    let answer = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            + libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0)
    };
    assert_eq!(answer, 0, "{}", io::Error::last_os_error());
}

/// A program that does not pause takes a CPU; a thread that waits needs another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Does a grace period outlast a program that was under way when it began?
fn waits_for_a_program(forbidden: &'static [libc::c_long]) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let program = slow_program();
    // On a busy machine the waiting thread may not have run before the program had ended.
    let proven = (0..10).any(|_| began_in_time(&program, forbidden));
    assert!(proven, "the program was too quick to prove anything");
}

/// One attempt; false when the program was over before the grace period began.
fn began_in_time(program: &(OwnedFd, OwnedFd), forbidden: &'static [libc::c_long]) -> bool {
    let (ready, began) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            while !ready.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            began.store(true, Ordering::Relaxed);
            run(program)
        });
        let waited = scope.spawn(|| {
            forbid(forbidden);
            // Without sleep: a thread that wakes up beside the program may have to wait for its end.
            ready.store(true, Ordering::Relaxed);
            while !began.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            let spin = now() + 5_000_000;
            while now() < spin {
                std::hint::spin_loop();
            }
            let from = now();
            grace().expect("a grace period");
            (from, now())
        });
        let (ended, (from, until)) = (running.join().unwrap(), waited.join().unwrap());
        assert!(until >= ended, "it ended {} ns after the grace period", ended - until);
        from < ended
    })
}

#[test]
#[ignore = "needs root"]
fn a_grace_period_outlasts_every_program_that_was_under_way() {
    waits_for_a_program(&[]);
}

#[test]
#[ignore = "needs root"]
fn so_it_does_without_membarrier() {
    waits_for_a_program(&[libc::SYS_membarrier]);
}

#[test]
#[ignore = "needs root"]
fn who_has_neither_way_is_told_so() {
    let waited = thread::spawn(|| {
        forbid(&[libc::SYS_membarrier, libc::SYS_bpf]);
        grace()
    });
    let error = waited.join().unwrap().expect_err("nothing was waited for").to_string();
    assert!(error.contains("membarrier") && error.contains("map"), "{error}");
}
