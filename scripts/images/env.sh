# Sourced: podman and buildah as a machine without systemd runs them. Settings of these programs alone; the files that they
# run stay as they are.
export CONTAINERS_CONF="$here/containers.conf" CONTAINERS_REGISTRIES_CONF="$here/registries.conf"
