FROM localhost/stand-in/debian:haproxy
# The configuration is given to it; the official image has none either.
RUN install -d /usr/local/etc/haproxy
USER haproxy
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
