# Redis and RabbitMQ: what they hold survives the end of their processes.
# shellcheck shell=bash
# shellcheck disable=SC2154  # $directory and the settings come from elsewhere

start_redis() {
    require_port redis "$port_redis"
    mkdir -p "$directory/redis/data"
    spawn redis redis-server --bind 127.0.0.1 --port "$port_redis" --dir "$directory/redis/data" --daemonize no \
        --save '' --appendonly yes --appendfsync everysec
}

ready_redis() {
    [[ $(redis-cli -h 127.0.0.1 -p "$port_redis" ping) == PONG ]]
}

# A node with a registry of names (epmd) and a cookie of its own. The server's script replaces itself by the
# node only when it believes that a service manager started it.
start_rabbitmq() {
    local home=$directory/rabbitmq
    require_port rabbitmq "$port_rabbitmq"
    require_port rabbitmq "$port_rabbitmq_api"
    mkdir -p "$home/data" "$home/logs"
    printf '%s\n' "listeners.tcp.1 = 127.0.0.1:$port_rabbitmq" 'log.file.level = info' \
        'management.tcp.ip = 127.0.0.1' "management.tcp.port = $port_rabbitmq_api" \
        'disk_free_limit.absolute = 50MB' 'vm_memory_high_watermark.absolute = 512MB' >"$home/rabbitmq.conf"
    # With its interface for operators, by which tests make virtual hosts and look at queues.
    echo '[rabbitmq_management].' >"$home/enabled_plugins"
    local environment=(
        HOME="$home" ERL_EPMD_PORT="$port_epmd" ERL_EPMD_ADDRESS=127.0.0.1 RUNNING_UNDER_SYSTEMD=1
        RABBITMQ_NODENAME=miaofs@localhost RABBITMQ_DIST_PORT="$port_rabbitmq_nodes"
        RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home/logs" RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf"
        RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" RABBITMQ_PID_FILE="$home/node.pid"
        RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_GENERATED_CONFIG_DIR="$home/generated"
        RABBITMQ_ADVANCED_CONFIG_FILE="$home/advanced.config"
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"
    )
    if ! process_of rabbitmq-epmd >/dev/null; then
        require_port rabbitmq "$port_epmd"
        spawn rabbitmq-epmd epmd -port "$port_epmd" -address 127.0.0.1
        await rabbitmq-epmd ready_epmd
    fi
    spawn rabbitmq env "${environment[@]}" /usr/lib/rabbitmq/bin/rabbitmq-server
}

ready_epmd() { listens "$port_epmd"; }

# A broker that is ready answers the header of the protocol with a frame of its own.
ready_rabbitmq() (
    exec 3<>"/dev/tcp/127.0.0.1/$port_rabbitmq" || exit 1
    printf 'AMQP\0\0\011\001' >&3
    LC_ALL=C IFS= read -r -t 5 -n 1 -d '' -u 3 first
    [[ $first == $'\001' ]] && listens "$port_rabbitmq_api"
)
