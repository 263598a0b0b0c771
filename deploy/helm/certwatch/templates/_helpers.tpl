{{- define "certwatch.name" -}}
{{- if contains "certwatch" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-certwatch" .Release.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "certwatch.account" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "certwatch.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "certwatch.replicas" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.inventory.existingSecret) }}{{ fail "replicas: more than one daemon needs a PostgreSQL inventory: name its Secret in inventory.existingSecret" }}{{ end }}
{{- int .Values.replicas }}
{{- end }}

{{- /* Whether /data is a claim. Empty: no. */}}
{{- define "certwatch.claims" -}}
{{- if and .Values.persistence.enabled (not .Values.inventory.existingSecret) }}yes{{ end }}
{{- end }}

{{- define "certwatch.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "certwatch.selector" -}}
app.kubernetes.io/name: certwatch
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "certwatch.labels" -}}
{{ include "certwatch.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* certwatch.yaml of the deployment. */}}
{{- define "certwatch.config" -}}
{{- $cluster := merge (dict "kind" "kubernetes") .Values.cluster }}
{{- $collectors := list $cluster }}
{{- if .Values.endpoints.enabled }}
{{- $collectors = append $collectors (dict "name" "served" "kind" "tls" "every" .Values.endpoints.every "targets_from" (list .Values.cluster.name)) }}
{{- end }}
{{- $prometheus := dict "kind" "prometheus" "listen" "0.0.0.0:9719" }}
{{- if .Values.web.existingSecret }}
{{- $_ := set $prometheus "web_config" "/etc/certwatch-web/web.yml" }}
{{- end }}
{{- $exporters := list $prometheus }}
{{- if .Values.events.enabled }}
{{- $exporters = append $exporters (merge (dict "kind" "kubernetes-events") .Values.events.config (dict "cluster" (.Values.cluster.cluster | default .Values.cluster.name))) }}
{{- end }}
{{- $config := dict "collectors" (concat $collectors .Values.collectors) "exporters" (concat $exporters .Values.exporters) }}
{{- if .Values.inventory.existingSecret }}
{{- $_ := set $config "inventory_file" "/etc/certwatch-inventory/url" }}
{{- else }}
{{- $_ := set $config "inventory" "sqlite:///data/inventory.db" }}
{{- end }}
{{- toYaml (merge (deepCopy .Values.config) $config) }}
{{- end }}

{{- /* certwatch.yaml of each node. */}}
{{- define "certwatch.nodeConfig" -}}
{{- $files := dict "name" "node-files" "kind" "file" "every" .Values.nodes.every "paths" .Values.nodes.paths "labels" (dict "cluster" .Values.cluster.name "node" "${NODE_NAME}") }}
{{- toYaml (dict "inventory" "sqlite:///data/inventory.db" "collectors" (list $files) "exporters" (list (dict "kind" "prometheus" "listen" "0.0.0.0:9719"))) }}
{{- end }}

{{- /* Of a port that wants users or certificates, that it accepts is all that the kubelet can see. */}}
{{- define "certwatch.probes" -}}
{{- $closed := . -}}
ports:
  - {name: http, containerPort: 9719}
livenessProbe:
  {{ if $closed }}tcpSocket: {port: http}{{ else }}httpGet: {path: /-/healthy, port: http}{{ end }}
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  {{ if $closed }}tcpSocket: {port: http}{{ else }}httpGet: {path: /-/ready, port: http}{{ end }}
  timeoutSeconds: 5
{{- end }}

{{- define "certwatch.locked" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Rules of one scope: "cluster", "namespaced", or the namespace that a resource stands in alone. By sources, none that is not switched on. */}}
{{- define "certwatch.rules" -}}
{{- $rights := .root.Files.Get "files/rights.yaml" | fromYaml }}
{{- $passphrases := and (eq .scope "namespaced") (toString .root.Values.cluster.passphrases | contains "secret:") }}
{{- range $source := prepend .root.Values.cluster.sources "owners" }}
{{- range $right := get $rights $source | required (printf "cluster.sources: unknown source %q" $source) }}
{{- if eq $right.scope $.scope }}
- apiGroups: [{{ $right.group | quote }}]
  resources: [{{ join ", " $right.resources }}]
  verbs: [list, watch{{ if and $passphrases (eq $source "secrets") }}, get{{ end }}]
{{- end }}
{{- end }}
{{- end }}
{{- end }}
