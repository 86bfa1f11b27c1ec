{{- define "remit.name" -}}
{{ ternary .Release.Name (printf "%s-remit" .Release.Name) (contains "remit" .Release.Name) | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "remit.selector" -}}
app.kubernetes.io/name: remit
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "remit.labels" -}}
{{ include "remit.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "remit.image" -}}
{{ with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{- /* The files of the Secret of keys: test/deploy/keys.test.ts holds them to what a start makes. */}}
{{- define "remit.keyFiles" -}}
digest.key dpop.key issuer-es256.json issuer-rs256.json mcp.key oauth.key record-seal.key vault.key
{{- end }}

{{- /* The text of a setting: JSON of what is no text. */}}
{{- define "remit.text" -}}
{{ if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}

{{- /* One of the roles with all that it leaves to the defaults, as YAML. Of: $, name. */}}
{{- define "remit.role" -}}
{{ $own := index .root.Values.roles .name }}
{{- $role := mergeOverwrite (deepCopy .root.Values.roleDefaults) (deepCopy $own) }}
{{- $settings := mergeOverwrite (deepCopy .root.Values.settings) (deepCopy $role.settings) }}
{{- $readers := list "SOURCE_SECRETS" "DIRECTORY_SECRETS" }}
{{- $texts := dict }}
{{- range $setting, $value := $settings }}
{{- $text := include "remit.text" $value }}
{{- if and (has $setting $readers) (not $role.readsSources) }}
{{- /* Who does not read has to know the names, and may not have the secrets. */}}
{{- $entries := list }}
{{- range fromJsonArray $text }}{{ $entries = append $entries (omit . "secret_env") }}{{ end }}
{{- $text = toJson $entries }}
{{- end }}
{{- $_ := set $texts $setting $text }}
{{- end }}
{{- /* A nominator asks nobody, and has no secret but those of the database and OpenFGA. */}}
{{- if eq $role.role "nominator" }}
{{- $_ := set $texts "TRUSTED_ISSUERS" "[]" }}
{{- range tuple "NOMINATOR_URLS" "VAULT_PROVIDERS" "SOURCE_SECRETS" "DIRECTORY_SECRETS" "SEARCH_ENGINE_URLS" "SEARCH_ENGINE_USER" }}{{ $_ := unset $texts . }}{{ end }}
{{- else }}
{{- $_ := unset $texts "NOMINATOR_SHARE" }}
{{- end }}
{{- $_ := set $role "nominates" (eq $role.role "nominator") }}
{{- $_ := set $role "asks" (hasKey $texts "NOMINATOR_URLS") }}
{{- $_ := set $role "settings" $texts }}
{{- $_ := set $role "name" .name }}
{{- $_ := set $role "answers" (has "api" (splitList "," $role.role)) }}
{{- $_ := set $role "takesIn" (has "worker" (splitList "," $role.role)) }}
{{- $_ := set $role "secretEnvs" (include "remit.secretEnvs" (values $texts) | fromJsonArray) }}
{{- toYaml $role }}
{{- end }}

{{- /* The variables that settings name as holding a secret, as a JSON array. Of: texts of settings. */}}
{{- define "remit.secretEnvs" -}}
{{ $names := list }}
{{- range . }}
{{- range regexFindAll "\"(client_)?secret_env\"\\s*:\\s*\"\\w+\"" . -1 }}
{{- $names = append $names (regexReplaceAll ".*\"(\\w+)\"$" . "${1}") }}
{{- end }}
{{- end }}
{{- $names | uniq | sortAlpha | toJson }}
{{- end }}

{{- /* Refuses what would start, and be wrong: says all of it at once. */}}
{{- define "remit.refuse" -}}
{{- $problems := list }}
{{- $values := .Values }}
{{- if not $values.image.repository }}{{ $problems = append $problems "image.repository is needed: where the image was pushed" }}{{ end }}
{{- range tuple "PUBLIC_URL" "TRUSTED_ISSUERS" "OPENFGA_API_URL" }}
{{- if not (hasKey $values.settings .) }}{{ $problems = append $problems (printf "settings.%s is needed" .) }}{{ end }}
{{- end }}
{{- range tuple "DATABASE_URL" "OPENFGA_API_TOKEN" "OPS_BEARER" }}
{{- if not (hasKey $values.secrets .) }}{{ $problems = append $problems (printf "secrets.%s is needed: without it the service would be embedded, or open" .) }}{{ end }}
{{- end }}
{{- if not $values.keysSecret }}{{ $problems = append $problems "keysSecret is needed: each process would make keys of its own, and none could read what another signed or sealed" }}{{ end }}
{{- if not $values.network.clients }}{{ $problems = append $problems "network.clients is needed: nobody could reach the service" }}{{ end }}
{{- $egress := list "postgres" "openfga" }}
{{- if $values.settings.TRUSTED_ISSUERS }}{{ if ne (include "remit.text" $values.settings.TRUSTED_ISSUERS) "[]" }}{{ $egress = append $egress "issuers" }}{{ end }}{{ end }}
{{- if $values.settings.SEARCH_ENGINE_URLS }}
{{- $egress = append $egress "search" }}
{{- if not (hasKey $values.secrets "SEARCH_ENGINE_PASSWORD") }}{{ $problems = append $problems "secrets.SEARCH_ENGINE_PASSWORD is needed with SEARCH_ENGINE_URLS" }}{{ end }}
{{- end }}
{{- range $egress }}
{{- if not (hasKey $values.network.egress .) }}{{ $problems = append $problems (printf "network.egress.%s is needed: the processes could not reach it" .) }}{{ end }}
{{- end }}
{{- /* Not in the schema: before Helm 3.18 what stands beside a $ref there is not looked at. */}}
{{- if not $values.network.dns }}{{ $problems = append $problems "network.dns is empty: that would be everybody" }}{{ end }}
{{- range $one, $way := $values.network.egress }}
{{- if not $way.to }}{{ $problems = append $problems (printf "network.egress.%s.to is empty: that would be everybody" $one) }}{{ end }}
{{- end }}
{{- $answers := false }}{{ $takesIn := false }}
{{- $named := list }}
{{- range $name, $_ := $values.roles }}
{{- $role := include "remit.role" (dict "root" $ "name" $name) | fromYaml }}
{{- $answers = or $answers $role.answers }}
{{- $takesIn = or $takesIn $role.takesIn }}
{{- $named = concat $named $role.secretEnvs }}
{{- if and (or $role.nominates $role.asks) (not $role.nominatorTls) }}{{ $problems = append $problems (printf "roles.%s.nominatorTls is needed: a nominator and whoever asks it show each other what they are" $name) }}{{ end }}
{{- if and $role.nominatorTls (not (or $role.nominates $role.asks)) }}{{ $problems = append $problems (printf "roles.%s.nominatorTls is read by nobody" $name) }}{{ end }}
{{- range $one, $way := $role.egress }}
{{- if not $way.to }}{{ $problems = append $problems (printf "roles.%s.egress.%s.to is empty: that would be everybody" $name $one) }}{{ end }}
{{- end }}
{{- if and $role.readsSources (not $role.takesIn) }}{{ $problems = append $problems (printf "roles.%s.readsSources is for a worker: who answers has no credential of a source" $name) }}{{ end }}
{{- /* One search engine for all: docs/search-engine.md. */}}
{{- range tuple "PUBLIC_URL" "OPENFGA_API_URL" "OPENFGA_STORE_ID" "SEARCH_ENGINE_URLS" "SEARCH_ENGINE_USER" }}
{{- if hasKey ((index $values.roles $name).settings | default dict) . }}{{ $problems = append $problems (printf "roles.%s.settings.%s would split the service: set it for all, in settings" $name .) }}{{ end }}
{{- end }}
{{- end }}
{{- if not $answers }}{{ $problems = append $problems "roles has no entry with the role api: nobody would answer" }}{{ end }}
{{- if not $takesIn }}{{ $problems = append $problems "roles has no entry with the role worker: documents would wait for ever" }}{{ end }}
{{- range $named | uniq }}
{{- if not (hasKey $values.secrets .) }}{{ $problems = append $problems (printf "secrets.%s is needed: a setting names it" .) }}{{ end }}
{{- if hasKey $values.extraEnv . }}{{ $problems = append $problems (printf "extraEnv.%s is a secret: give it by reference, in secrets" .) }}{{ end }}
{{- end }}
{{- $known := concat $named (list "DATABASE_URL" "OPENFGA_API_TOKEN" "OPS_BEARER" "VAULT_KEYS" "EMBEDDINGS_API_KEY" "SEARCH_ENGINE_PASSWORD") }}
{{- range $name, $_ := $values.secrets }}
{{- if not (has $name $known) }}{{ $problems = append $problems (printf "secrets.%s is read by nobody" $name) }}{{ end }}
{{- end }}
{{- if $problems }}{{ fail (printf "The values cannot be used:\n  %s" ($problems | uniq | join "\n  ")) }}{{ end }}
{{- end }}

{{- /* The secrets that one of the roles gets, as a JSON array: what every process needs, and what its settings name. */}}
{{- define "remit.secretsOf" -}}
{{ $names := list }}
{{- $common := tuple "DATABASE_URL" "OPENFGA_API_TOKEN" "OPS_BEARER" }}
{{- if not .role.nominates }}{{ $common = concat $common (tuple "VAULT_KEYS" "EMBEDDINGS_API_KEY" "SEARCH_ENGINE_PASSWORD") }}{{ end }}
{{- range $name, $_ := .root.Values.secrets }}
{{- if or (has $name $common) (has $name $.role.secretEnvs) }}{{ $names = append $names $name }}{{ end }}
{{- end }}
{{- toJson $names }}
{{- end }}

{{- /* A program that asks the operators' listener how it is. Of: what to do with the answer. */}}
{{- define "remit.ask" -}}
const bearer = require('node:fs').readFileSync(process.env.OPS_BEARER_FILE, 'utf8').trim(); fetch('http://127.0.0.1:8788/readyz', { headers: { authorization: `Bearer ${bearer}` } }).then({{ . }}, () => process.exit(1))
{{- end }}
