# What scripts/services chooses once for a directory and keeps: ports, passwords, keys; and the file that tests read.
# shellcheck shell=bash
# shellcheck disable=SC2154  # $directory and the settings come from elsewhere

# The bucket of each gateway, and the name under which the second one is reached in OSS's style: BUCKET.NAME.
ceph_bucket=miaofs-ceph
oss_bucket=miaofs-oss
oss_domain=oss.miaofs.test

# A port that nobody listens on, below those that the kernel gives to outgoing connections.
free_port() {
    local port
    while :; do
        port=$((20000 + SRANDOM % 12000))
        if ! grep -qs "=$port$" "$directory/settings" && ! listens "$port"; then
            echo "$port"
            return
        fi
    done
}

random_word() {
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

uuid() {
    cat /proc/sys/kernel/random/uuid
}

# Sockets have paths of at most 107 bytes, so those of a deep directory lie elsewhere.
short_directory() {
    if ((${#directory} <= 60)); then
        echo "$directory/run"
    else
        mktemp -d /tmp/miaofs-services-XXXXXX
    fi
}

# Makes a setting unless there is one: choose NAME COMMAND
choose() {
    if [[ ! ${!1:-} ]]; then
        printf -v "$1" %s "$("$2")"
        printf '%s=%q\n' "$1" "${!1}" >>"$directory/settings"
    fi
}

# Reads the settings of the directory, and chooses those that are missing.
open_settings() {
    local name
    if [[ -s $directory/settings ]]; then
        # shellcheck disable=SC1091
        source "$directory/settings"
    fi
    [[ $verb == up || $verb == start ]] || { : "${runs:=$directory/run}" && return 0; }
    choose runs short_directory
    for name in mariadb replica redis rabbitmq rabbitmq_api rabbitmq_nodes epmd ceph_mon ceph_osd radosgw radosgw_oss \
        oss_front; do
        choose "port_$name" free_port
    done
    for name in mariadb_password replication_password ceph_access_key ceph_secret_key oss_access_key oss_secret_key; do
        choose "$name" random_word
    done
    choose ceph_id uuid
    choose ceph_osd_id uuid
    mkdir -p "$runs"
    chmod 700 "$directory" "$runs"
    write_environment
    write_ceph_configuration
}

write_environment() {
    cat >"$directory/services.env.new" <<END
MIAOFS_TEST_SERVICES=$repository/scripts/services
MIAOFS_TEST_SERVICES_DIR=$directory
MIAOFS_TEST_DATABASE_URL=mysql://miaofs:$mariadb_password@127.0.0.1:$port_mariadb
MIAOFS_TEST_REPLICA_URL=mysql://miaofs_reader:$mariadb_password@127.0.0.1:$port_replica
MIAOFS_TEST_REDIS_URL=redis://127.0.0.1:$port_redis
MIAOFS_TEST_AMQP_URL=amqp://guest:guest@127.0.0.1:$port_rabbitmq
MIAOFS_TEST_AMQP_API=http://guest:guest@127.0.0.1:$port_rabbitmq_api
MIAOFS_TEST_CEPH_ENDPOINT=http://127.0.0.1:$port_radosgw
MIAOFS_TEST_CEPH_REGION=us-east-1
MIAOFS_TEST_CEPH_BUCKET=$ceph_bucket
MIAOFS_TEST_CEPH_ACCESS_KEY=$ceph_access_key
MIAOFS_TEST_CEPH_SECRET_KEY=$ceph_secret_key
MIAOFS_TEST_OSS_ENDPOINT=http://$oss_domain:$port_oss_front
MIAOFS_TEST_OSS_PROXY=http://127.0.0.1:$port_oss_front
MIAOFS_TEST_OSS_REGION=oss-cn-hangzhou
MIAOFS_TEST_OSS_BUCKET=$oss_bucket
MIAOFS_TEST_OSS_ACCESS_KEY=$oss_access_key
MIAOFS_TEST_OSS_SECRET_KEY=$oss_secret_key
END
    chmod 600 "$directory/services.env.new" "$directory/settings"
    # In one step: a test may be reading it.
    mv "$directory/services.env.new" "$directory/services.env"
}
