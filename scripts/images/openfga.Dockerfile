# No shell and no other program, as the official one.
FROM scratch
COPY lib64 /lib64
COPY lib /lib
COPY openfga /openfga
COPY grpc-health-probe /usr/local/bin/grpc_health_probe
USER 65532:65532
EXPOSE 8080 8081 3000
ENTRYPOINT ["/openfga"]
