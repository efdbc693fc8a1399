{{- define "towpath.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "towpath.selector" -}}
app.kubernetes.io/name: towpath
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "towpath.labels" -}}
{{ include "towpath.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "towpath.serviceAccount" -}}
{{- if .Values.serviceAccount.name }}{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create }}{{ include "towpath.name" . }}
{{- else }}default{{ end }}
{{- end }}

{{- define "towpath.image" -}}
{{- if .Values.image.digest }}{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}{{ end }}
{{- end }}

{{- /* The server of the first cluster of a kubeconfig in a ConfigMap; empty when there is none. */ -}}
{{- define "towpath.serverIn" -}}
{{- $config := .text | default "" | fromYaml -}}
{{- range $i, $cluster := $config.clusters }}{{ if eq $i 0 }}{{ $cluster.cluster.server }}{{ end }}{{ end -}}
{{- end }}

{{- /* Addresses of the API server that do not depend on Services, as a JSON list. */ -}}
{{- define "towpath.apiServers" -}}
{{- $local := dict "k3s" "https://127.0.0.1:6444" "rke2" "https://127.0.0.1:6443" "talos" "https://127.0.0.1:7445" -}}
{{- if .Values.apiServers -}}
{{ .Values.apiServers | toJson }}
{{- else if hasKey $local .Values.profile -}}
{{ list (get $local .Values.profile) | toJson }}
{{- else -}}
{{- $info := lookup "v1" "ConfigMap" "kube-public" "cluster-info" | default dict -}}
{{- $server := include "towpath.serverIn" (dict "text" (($info.data | default dict).kubeconfig)) -}}
{{- if not $server -}}
{{- $proxy := lookup "v1" "ConfigMap" "kube-system" "kube-proxy" | default dict -}}
{{- $server = include "towpath.serverIn" (dict "text" (get ($proxy.data | default dict) "kubeconfig.conf")) -}}
{{- end -}}
{{- if not (hasPrefix "https://" $server) -}}
{{- fail "apiServers: no address of the API server is given, and none was found in the ConfigMaps kube-public/cluster-info and kube-system/kube-proxy. Give one that does not depend on Services, as `kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}'` shows it: --set 'apiServers={https://192.0.2.10:6443}'. Rendering without a cluster (helm template, GitOps) always needs it." -}}
{{- end -}}
{{ list $server | toJson }}
{{- end -}}
{{- end }}

{{- /* Is there a monitor? Then metrics are served on the node's address. */ -}}
{{- define "towpath.monitored" -}}
{{- if and (ne .Values.monitoring.monitor "none") (eq .Values.mode "run") }}yes{{ end -}}
{{- end }}

{{- /* Is DNS answered? An `on` without quotation marks is `true` for helm. */ -}}
{{- define "towpath.dns" -}}
{{- $dns := dig "features" "dns" "off" .Values.config | toString -}}
{{- if or (eq $dns "on") (eq $dns "true") }}yes{{ end -}}
{{- end }}

{{- /* Are Ingresses served? */ -}}
{{- define "towpath.ingress" -}}
{{- $ingress := dig "features" "ingress" "off" .Values.config | toString -}}
{{- if or (eq $ingress "on") (eq $ingress "true") }}yes{{ end -}}
{{- end }}

{{- /* Are NetworkPolicies enforced? */ -}}
{{- define "towpath.policy" -}}
{{- $policy := dig "features" "networkPolicy" "off" .Values.config | toString -}}
{{- if or (eq $policy "on") (eq $policy "true") }}yes{{ end -}}
{{- end }}

{{- /* The Lease of the daemon that writes the status of Ingresses; the label selector of its peers. */ -}}
{{- define "towpath.lease" -}}
{{ include "towpath.name" . }}-ingress
{{- end }}
{{- define "towpath.pods" -}}
app.kubernetes.io/name=towpath,app.kubernetes.io/instance={{ .Release.Name }}
{{- end }}

{{- /* The daemon's whole configuration file. */ -}}
{{- define "towpath.config" -}}
{{- $own := dict "bpffs" "/host/bpf/towpath" "cgroupRoot" "/host/cgroup" "runDir" "/host/run" "controlDir" "/run/towpath" "apiServers" (include "towpath.apiServers" . | fromJsonArray) -}}
{{- $metrics := dict -}}
{{- if include "towpath.monitored" . -}}{{- $metrics = dict "metricsBindAddress" "[::]:10249" -}}{{- end -}}
{{- if include "towpath.ingress" . -}}{{- $_ := set $own "ingress" (dict "lease" (include "towpath.lease" .) "pods" (include "towpath.pods" .)) -}}{{- end -}}
{{ merge $own (deepCopy .Values.config) $metrics | toYaml }}
{{- end }}

{{- /* The port of metrics, for monitors. */ -}}
{{- define "towpath.metricsPort" -}}
{{- $address := .Values.config.metricsBindAddress | default "[::]:10249" -}}
{{- if eq $address "off" -}}{{- fail "monitoring.monitor: config.metricsBindAddress is off: there is nothing to scrape; remove one of the two" -}}{{- end -}}
{{- if or (hasPrefix "127." $address) (hasPrefix "[::1]" $address) -}}{{- fail "monitoring.monitor: config.metricsBindAddress is a loopback address, which Prometheus can not reach; remove one of the two" -}}{{- end -}}
{{- regexFind ":[0-9]+$" (regexReplaceAll "^[^\\]]*\\]" $address "") | trimPrefix ":" | default "10249" -}}
{{- end }}
