//! Opening the kernel, and the programs of every area.

use std::{collections::BTreeSet, mem::offset_of, sync::Arc};

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use towpath_image::{
    Applied, Attachments, KernelError, MapName, PacketImage, PolicyImage, Programs, ServiceImage,
    datapath::ConfigRecord,
};

use crate::{
    Error, Settings,
    adopt::{adopt, devices, pinned},
    error::chain,
    live::{AreaMaps, LiveImage, LiveMaps},
    mapped::Mapped,
    maps::OpenMap,
    object::{Objects, PACKETS, PODS},
    pins::{self, layouts::Layouts, links, lock::WriterLock},
    probe::host_netns_cookie,
    table::Table,
    tables,
};

/// The kernel, open: a door to the programs, and one to the maps of each area.
#[derive(Debug)]
pub struct Opened {
    /// Programs, pins and links.
    pub programs: LivePrograms,
    /// The maps of services.
    pub services: LiveMaps<ServiceImage>,
    /// The maps of policies, if they are enforced.
    pub policy: Option<LiveMaps<PolicyImage>>,
    /// The maps of packets, if they are translated.
    pub packets: Option<LiveMaps<PacketImage>>,
}

/// Takes the lock, makes or adopts the maps, fills a fresh layout from another version's pins, loads
/// the programs. What is in force stays so, and what its maps say is what is served, until
/// [`Programs::attach`] is called. What a daemon that died left half done is put right here, there,
/// or by the first batch.
///
/// # Errors
/// Every [`Error`]; nothing that worked before is undone then.
pub fn open(settings: &Settings) -> Result<Opened, Error> {
    let programs = LivePrograms::open(settings, &[])?;
    let policy = settings.policy.is_some().then(|| programs.maps()).transpose()?;
    let packets = settings.packets.then(|| programs.maps()).transpose()?;
    Ok(Opened { services: programs.maps()?, policy, packets, programs })
}

/// What a packet program did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// -1: the stack goes on with it; 2: dropped; 7: sent on.
    pub says: i32,
    /// The frame as it is then.
    pub frame: Vec<u8>,
}

/// The programs of this node, and all that is pinned.
#[derive(Debug)]
pub struct LivePrograms {
    lock: Arc<WriterLock>,
    layouts: Layouts,
    maps: Vec<OpenMap>,
    config: Mapped<ConfigRecord>,
    objects: Objects,
    settings: Settings,
    started_empty: Vec<MapName>,
    /// What should be in force.
    wanted: Attachments,
    /// Nothing of that is known to be missing.
    complete: bool,
}

impl LivePrograms {
    /// The same as [`open`], also for the maps of further areas. A map that no object has is made as
    /// its row says.
    ///
    /// # Errors
    /// Every [`Error`]; nothing that worked before is undone then.
    pub fn open(settings: &Settings, further: &[&Table]) -> Result<Self, Error> {
        let settings = settings.plain()?;
        let policy: &[&Table] = if settings.policy.is_some() { &[&tables::POLICY] } else { &[] };
        let packets: &[&Table] = if settings.packets { &[&tables::PACKETS] } else { &[] };
        let areas = &[&tables::ALL, policy, packets, further].concat()[..];
        let mut layouts = Layouts::default();
        let lock = WriterLock::take(&settings, |root| {
            layouts = Layouts::find(root, &settings)?;
            Ok(layouts.dir())
        })?;
        check_cgroup2(&settings)?;
        let started_empty = layouts.fill(&settings, areas)?;
        if !started_empty.is_empty() {
            tracing::warn!(maps = ?started_empty, "another version's maps cannot be read: these are empty");
        }
        let dir = layouts.dir();
        let sockets = adopt(&settings, areas, &dir)?;
        let also = |wanted: bool, object| {
            wanted.then(|| devices(&settings, areas, &dir, object)).transpose()
        };
        let pods = also(settings.policy.is_some(), PODS)?;
        let packets = also(settings.packets, PACKETS)?;
        let mut objects = Objects { sockets, pods, packets };
        let rows = areas.iter().flat_map(|table| table.rows);
        let maps = rows.map(|row| pinned(&dir.join(row.name.as_str()), row));
        let maps: Vec<_> = maps.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let config = AreaMaps(&maps).map(MapName::CONFIG)?.array()?;
        configure(&config, &settings)?;
        objects.load()?;
        Ok(Self {
            lock: Arc::new(lock),
            layouts,
            maps,
            config,
            objects,
            settings,
            started_empty,
            wanted: Attachments::new(),
            complete: false,
        })
    }

    /// The maps of an area that was opened.
    ///
    /// # Errors
    /// When they are not as the area's table says.
    pub fn maps<I: LiveImage>(&self) -> Result<LiveMaps<I>, Error> {
        Ok(LiveMaps::new(&AreaMaps(&self.maps), Arc::clone(&self.lock))?)
    }

    /// Whose maps these are, if any cluster was ever said.
    #[must_use]
    pub fn cluster(&self) -> Option<u64> {
        self.config.get(0).map(|config| config.cluster).filter(|cluster| *cluster != 0)
    }

    /// Maps that hold nothing although the version before had something in them that this one cannot
    /// read. While there are any, what is in force knows more than this daemon until it has listed.
    #[must_use]
    pub fn started_empty(&self) -> &[MapName] {
        &self.started_empty
    }

    /// The areas that these maps belong to, by the names of their tables.
    #[must_use]
    pub fn areas_started_empty(&self) -> BTreeSet<&'static str> {
        self.started_empty.iter().filter_map(|map| tables::area(*map)).collect()
    }

    /// What is in force now, as the kernel has it.
    #[must_use]
    pub fn attached(&self) -> Attachments {
        links::attached(&self.objects, &self.settings)
    }

    /// What an earlier daemon left in force at devices: it stays until something else is wanted there.
    #[must_use]
    pub fn at_devices(&self) -> Attachments {
        links::at_devices(&self.settings)
    }

    /// Runs a packet program on a frame as if a device had it: what it says, and the frame after it.
    /// Nothing is sent.
    ///
    /// # Errors
    /// When there is no such program, or the kernel refuses to run it.
    pub fn try_packet(&self, program: &str, device: u32, frame: &[u8]) -> Result<Verdict, Error> {
        let failed = |cause: String| Error::Load { cause: format!("running {program}: {cause}") };
        let program = self.objects.program(program).map_err(failed)?;
        let program = <&SchedClassifier>::try_from(program).map_err(|e| failed(chain(&e)))?;
        // `ifindex` of `__sk_buff`; all else is zero.
        let mut context = [0u8; 192];
        context[40..44].copy_from_slice(&device.to_ne_bytes());
        let mut after = vec![0; frame.len() + 256];
        let run = program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut after),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        });
        let run = run.map_err(|e| failed(chain(&e)))?;
        after.truncate(run.data_size_out as usize);
        Ok(Verdict { says: run.return_value.cast_signed(), frame: after })
    }

    fn pins(&self, cause: String) -> KernelError {
        KernelError::Pins { place: self.settings.pin_root.display().to_string(), cause }
    }
}

impl Programs for LivePrograms {
    fn bind(&mut self, cluster: u64) -> Result<(), KernelError> {
        let byte = offset_of!(ConfigRecord, cluster);
        if self.cluster().is_some_and(|held| held != cluster) {
            let place = self.lock.maps_dir().display().to_string();
            return Err(KernelError::OtherCluster { place });
        }
        self.config.store_word(0, byte, cluster);
        Ok(())
    }

    fn heal(&mut self) -> Result<Vec<String>, KernelError> {
        let place = || self.settings.pin_root.display().to_string();
        let kept = match self.lock.keep() {
            Err(Error::Locked { .. }) => return Err(KernelError::TakenOver { place: place() }),
            kept => kept,
        };
        let (mut healed, failure) = match kept {
            Ok(()) => pins::maps::mend(&self.maps, &self.lock.maps_dir()),
            // Programs are looked after all the same.
            Err(error) => (Vec::new(), Some(self.pins(chain(&error)))),
        };
        let programs = links::mend(&mut self.objects, &self.settings, &self.wanted);
        healed.extend(programs.done);
        programs.failure.or(failure).map_or(Ok(healed), Err)
    }

    fn attach(&mut self, wanted: &Attachments) -> Applied {
        if self.complete && self.wanted == *wanted {
            return Applied { done: wanted.len(), failure: None };
        }
        self.wanted.clone_from(wanted);
        let mut applied = links::attach(&mut self.objects, &self.settings, wanted);
        // From the first link on this version's maps are the ones that count.
        if (applied.done > 0 || applied.failure.is_none())
            && let Err(error) = self.layouts.settle(&self.lock)
        {
            let failure = self.pins(chain(&error));
            applied.failure.get_or_insert(failure);
        }
        self.complete = applied.failure.is_none();
        applied
    }
}

/// Pins of another cluster are refused before any program of ours runs on them; then the
/// configuration is written.
fn configure(config: &Mapped<ConfigRecord>, settings: &Settings) -> Result<(), Error> {
    let mut record = config.get(0).unwrap_or_default();
    if let Some(cluster) = settings.cluster {
        if record.cluster != 0 && record.cluster != cluster {
            return Err(Error::OtherCluster { path: settings.maps_dir() });
        }
        record.cluster = cluster;
    }
    record.host_netns = host_netns_cookie()
        .map_err(|cause| Error::Load { cause: format!("network namespace cookie: {cause}") })?;
    record.flags = if settings.host_only { ConfigRecord::HOST_ONLY } else { 0 };
    config.set(0, record);
    Ok(())
}

fn check_cgroup2(settings: &Settings) -> Result<(), Error> {
    let path = &settings.cgroup_root;
    let kind = statfs(path).map_err(|e| Error::file("reading", path, e.into()))?;
    if kind.filesystem_type() != CGROUP2_SUPER_MAGIC {
        return Err(Error::NoCgroup2 { path: path.to_owned() });
    }
    Ok(())
}
