# MariaDB as in production: InnoDB, binary log by row, global transaction ids, and a replica that refuses to be written.
# shellcheck shell=bash
# shellcheck disable=SC2154  # $directory and the settings come from elsewhere

# Runs SQL as root: sql PART STATEMENTS
sql() {
    mariadb --no-defaults --user=root --socket="$runs/$1.sock" --skip-column-names --batch --execute="$2"
}

install_mariadb() {
    local part=$1
    [[ ! -e $directory/$part/installed ]] || return 0
    rm -rf "${directory:?}/$part"
    mkdir -p "$directory/$part/temporary"
    mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$directory/$part/data" --skip-test-db \
        --tmpdir="$directory/$part/temporary" --auth-root-authentication-method=normal \
        --innodb-log-file-size=64M >"$directory/$part/output" 2>&1 ||
        { show_output "$part"; fail "the data directory of $part could not be made"; }
    touch "$directory/$part/installed"
}

# Commits survive the end of the process but not of the machine: start_server PART PORT OPTION...
start_server() {
    local part=$1 port=$2
    shift 2
    require_port "$part" "$port"
    spawn "$part" mariadbd --no-defaults --user="$(id -un)" --datadir="$directory/$part/data" \
        --tmpdir="$directory/$part/temporary" --socket="$runs/$part.sock" --pid-file="$runs/$part.pid" \
        --bind-address=127.0.0.1 --port="$port" --skip-name-resolve --character-set-server=utf8mb4 \
        --log-bin="$directory/$part/data/binlog" --binlog-format=ROW --binlog-expire-logs-seconds=86400 \
        --gtid-strict-mode=1 --log-slave-updates --innodb-buffer-pool-size=256M --innodb-log-file-size=64M \
        --innodb-flush-log-at-trx-commit=2 --sync-binlog=0 --max-connections=1000 --max-allowed-packet=64M "$@"
}

start_mariadb() {
    install_mariadb mariadb
    start_server mariadb "$port_mariadb" --server-id=1
}

start_mariadb-replica() {
    install_mariadb mariadb-replica
    start_server mariadb-replica "$port_replica" --server-id=2 --read-only=1 --slave-net-timeout=10
}

ready_mariadb() { sql mariadb 'select 1'; }
ready_mariadb-replica() { sql mariadb-replica 'select 1'; }

# Not all privileges: with those the user could write on the replica, too.
settle_mariadb() {
    [[ ! -e $directory/mariadb/settled ]] || return 0
    sql mariadb "
        create or replace user miaofs@'%' identified by '$mariadb_password';
        grant select, insert, update, delete, create, drop, alter, index, references, create temporary tables, lock tables,
            create view, show view, trigger, execute, create routine, alter routine, show databases, process, reload,
            binlog monitor, replica monitor on *.* to miaofs@'%';
        create or replace user miaofs_reader@'%' identified by '$mariadb_password';
        grant select, show databases, process, replica monitor on *.* to miaofs_reader@'%';
        create or replace user replication@'%' identified by '$replication_password';
        grant replication slave on *.* to replication@'%'"
    touch "$directory/mariadb/settled"
}

settle_mariadb-replica() {
    [[ ! -e $directory/mariadb-replica/settled ]] || return 0
    sql mariadb-replica "
        stop slave; set global gtid_slave_pos = '';
        change master to master_host = '127.0.0.1', master_port = $port_mariadb, master_user = 'replication',
            master_password = '$replication_password', master_use_gtid = slave_pos, master_connect_retry = 1,
            master_heartbeat_period = 2;
        start slave"
    touch "$directory/mariadb-replica/settled"
}

# Lets the replica apply everything so many seconds late; 0 is as soon as it can.
delay_replica() {
    sql mariadb-replica "stop slave; change master to master_delay = $1; start slave"
    say "the replica of MariaDB lags by $1 s"
}
