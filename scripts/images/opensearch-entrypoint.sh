#!/usr/bin/env bash
# What the entrypoint of the official image does with the variables of docker-compose.cluster.yml: those with a dot in their
# name are settings of the server. No package has the security plugin. HAProxy stands in for its TLS, its password and its
# certificates between nodes: the server listens on loopback, each node on an address of its own, and HAProxy carries what
# one sends to another. What the role may do is asked by nobody here.
set -euo pipefail

declare -A settings
while IFS='=' read -r -d '' name value; do
  case $name in *[!a-z0-9._]*) ;; *.*) settings[$name]=$value ;; esac
done < <(env -0)
of() { # LAYER KIND: a file of the plugin's settings
  echo "/usr/share/opensearch/config/${settings[plugins.security.ssl.$1.$2_filepath]}"
}
conf=$(mktemp -d)
umask 077
for layer in http transport; do
  # The password that the plugin supposes where none is said.
  openssl pkcs12 -in "$(of $layer keystore)" -passin pass:changeit -nodes -out "$conf/$layer.pem"
  openssl pkcs12 -in "$(of $layer truststore)" -passin pass:changeit -nokeys -out "$conf/$layer-trusted.pem"
done

IFS=, read -ra nodes <<<"${settings[discovery.seed_hosts]}"
seeds='' links='' self=''
for index in "${!nodes[@]}"; do
  node=${nodes[$index]} address=127.0.1.$((index + 1))
  seeds+="${seeds:+, }\"$address:9301\""
  if [ "$node" = "${settings[node.name]}" ]; then
    self=$address
  else
    links+="
listen to-$node
  bind $address:9301
  server there $node:9300 resolvers names init-addr none ssl crt $conf/transport.pem ca-file $conf/transport-trusted.pem verify required"
  fi
done

cat >"$conf/haproxy.cfg" <<CONF
global
  log stdout format raw local0 err
defaults
  log global
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
resolvers names
  parse-resolv-conf
userlist people
$(sed -n "s/^\(\w*\): { hash: '\([^']*\)'.*/  user \1 password \2/p" /usr/share/opensearch/config/opensearch-security/internal_users.yml)
frontend http
  mode http
  bind :9200 ssl crt $conf/http.pem
  # As the plugin while it cannot read yet who there is.
  http-request return status 503 if { nbsrv(server) eq 0 }
  http-request auth unless { http_auth(people) }
  default_backend server
backend server
  mode http
  option httpchk GET /_cluster/health?cluster_manager_timeout=1s
  server self 127.0.0.1:9201 check
listen from-others
  bind :9300 ssl crt $conf/transport.pem ca-file $conf/transport-trusted.pem verify required
  server self $self:9301$links
CONF

{
  for name in "${!settings[@]}"; do
    # What only plugins know that are not here.
    case $name in plugins.security.* | transport.ssl.* | search.insights.* | discovery.seed_hosts) continue ;; esac
    echo "$name: ${settings[$name]}"
  done
  cat <<CONF
discovery.seed_hosts: [$seeds]
transport.host: $self
transport.port: 9301
http.host: 127.0.0.1
http.port: 9201
path.data: /usr/share/opensearch/data
path.logs: $conf
CONF
} >"$conf/opensearch.yml"
cat >"$conf/log4j2.properties" <<CONF
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
CONF

haproxy -f "$conf/haproxy.cfg" &
# shellcheck disable=SC2086 # Several options in one variable.
exec /usr/share/opensearch/jdk/bin/java ${OPENSEARCH_JAVA_OPTS:-} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
  --add-modules jdk.incubator.vector --enable-native-access=ALL-UNNAMED -Djava.awt.headless=true \
  -Dio.netty.noUnsafe=true -Dio.netty.noKeySetOptimization=true -Dio.netty.allocator.numDirectArenas=0 \
  -Dlog4j.shutdownHookEnabled=false -Dlog4j2.disable.jmx=true "-Djava.io.tmpdir=$conf" \
  -Dopensearch.path.home=/opt/opensearch "-Dopensearch.path.conf=$conf" -Dopensearch.distribution.type=tar \
  -Dopensearch.bundled_jdk=false -cp '/opt/opensearch/lib/*' org.opensearch.bootstrap.OpenSearch
