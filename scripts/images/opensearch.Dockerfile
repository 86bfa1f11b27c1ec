FROM localhost/stand-in/debian:haproxy
RUN groupadd --gid 1000 opensearch && useradd --uid 1000 --gid opensearch --no-create-home opensearch && \
  install -d -o opensearch -g opensearch /usr/share/opensearch/data && \
  install -d /usr/share/opensearch/config/opensearch-security /usr/share/opensearch/plugins/opensearch-security/tools
COPY java /usr/share/opensearch/jdk
# The server elsewhere: it would take the folder of the plugin for one that is broken.
COPY opensearch /opt/opensearch
COPY opensearch-security.yml /usr/share/opensearch/config/opensearch-security/config.yml
COPY opensearch-hash.sh /usr/share/opensearch/plugins/opensearch-security/tools/hash.sh
COPY opensearch-entrypoint.sh /usr/local/bin/
USER opensearch
EXPOSE 9200 9300
ENTRYPOINT ["bash", "/usr/local/bin/opensearch-entrypoint.sh"]
