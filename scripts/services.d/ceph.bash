# A Ceph cluster of one monitor and one OSD, with two S3 gateways: one as in a data centre, one that stands in for OSS.
# shellcheck shell=bash
# shellcheck disable=SC2154  # $directory and the settings come from elsewhere

# The OSD's file is sparse. Writes to an OSD that is more than 95 % full hang.
osd_bytes=$((16 << 30))

# What each line is for stands above it; the others only make the cluster small, private and without keys.
write_ceph_configuration() {
    mkdir -p "$directory"/{ceph-mon,ceph-osd,radosgw,radosgw-oss}
    cat >"$directory/ceph.conf.new" <<END
[global]
fsid = $ceph_id
mon host = [v2:127.0.0.1:$port_ceph_mon/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
ms bind msgr1 = false
ms bind ipv6 = false
ms bind port min = $port_ceph_osd
ms bind port max = $((port_ceph_osd + 50))
ms async op threads = 2
auth cluster required = none
auth service required = none
auth client required = none
# Encryption needs the keys that there are none of: a gateway would retry for ever.
ms mon client mode = crc
auth allow insecure global id reclaim = false
run dir = $runs
admin socket = $runs/\$name.asok
pid file =
keyring = $directory/keyring
crash dir = $directory
log max recent = 100
# One copy of everything.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon max pg per osd = 1000
mon allow pool size one = true
mon warn on pool no redundancy = false
# After a kill -9 the OSD waits for its last lease to run out, 16 s by default. One that gets no processor for so long
# never answers again (16.2, as the only OSD): it waits for others to renew its lease.
osd pool default read lease ratio = 0.4
# A monitor ends itself on a disk that is nearly full.
mon data avail crit = 0
mon data avail warn = 0
# Changes of the cluster's map are collected for a second by default, and each new pool is one.
paxos propose interval = 0.02
paxos min wait = 0.01
mon tick interval = 1
objecter tick interval = 0.5
mon cluster log to file = false
mon memory target = 536870912
rocksdb cache size = 67108864
[mon.a]
mon data = $directory/ceph-mon/data
log file = $directory/ceph-mon/log
[osd]
osd data = $directory/ceph-osd/data
log file = $directory/ceph-osd/log
osd objectstore = bluestore
osd class update on start = false
osd memory target = 939524096
# Gateways tell each other of changes to buckets; one that was killed is waited for 30 s by default.
osd client watch timeout = 3
osd default notify timeout = 3
osd op num shards = 2
osd op num threads per shard = 1
osd max object name len = 460
osd max object namespace len = 64
bluestore block size = $osd_bytes
bluestore cache autotune = false
bluestore cache size = 134217728
bluestore fsck on mount = false
bluestore fsck on mkfs = false
# Every closing of the block file waits for one poll, 250 ms by default.
bdev aio poll ms = 10
[client]
rgw rados pool pg num min = 4
rgw thread pool size = 64
rgw enable usage log = false
rgw enable ops log = false
# What was deleted keeps its space for two hours by default.
rgw gc obj min wait = 5
rgw gc processor period = 5
rgw gc processor max time = 60
[client.rgw]
rgw data = $directory/radosgw
log file = $directory/radosgw/log
rgw frontends = beast endpoint=127.0.0.1:$port_radosgw tcp_nodelay=1
rgw dns name = localhost
[client.oss]
rgw data = $directory/radosgw-oss
log file = $directory/radosgw-oss/log
rgw frontends = beast endpoint=127.0.0.1:$port_radosgw_oss tcp_nodelay=1
rgw dns name = $oss_domain
# The smallest part but the last: 100 KiB on OSS, 5 MiB on S3.
rgw multipart min part size = 102400
END
    # In one step: a part that is just starting may be reading it.
    mv "$directory/ceph.conf.new" "$directory/ceph.conf"
    export CEPH_CONF=$directory/ceph.conf
    unset CEPH_ARGS
}

# Runs a command of Ceph's that changes something once; its output is shown when it fails: once PART COMMAND...
once() {
    local part=$1
    shift
    timeout "$start_limit" "$@" >>"$directory/$part/preparation" 2>&1 || {
        tail -n 20 "$directory/$part/preparation" >&2
        fail "'$*' failed for $part"
    }
}

start_ceph-mon() {
    local data=$directory/ceph-mon/data
    require_port ceph-mon "$port_ceph_mon"
    if [[ ! -e $directory/ceph-mon/made ]]; then
        rm -rf "$data" && mkdir "$data"
        once ceph-mon monmaptool --create --clobber --fsid "$ceph_id" --enable-all-features \
            --addv a "[v2:127.0.0.1:$port_ceph_mon/0]" "$directory/ceph-mon/map"
        once ceph-mon ceph-mon -c "$CEPH_CONF" --mkfs -i a --monmap "$directory/ceph-mon/map"
        touch "$directory/ceph-mon/made"
    fi
    spawn ceph-mon ceph-mon -c "$CEPH_CONF" -f -i a
}

ready_ceph-mon() { listens "$port_ceph_mon"; }

start_ceph-osd() {
    local data=$directory/ceph-osd/data
    process_of ceph-mon >/dev/null || fail "ceph-osd needs ceph-mon: start that first"
    if [[ ! -e $directory/ceph-osd/made ]]; then
        rm -rf "$data" && mkdir "$data"
        once ceph-osd ceph -c "$CEPH_CONF" --connect-timeout "$start_limit" osd new "$ceph_osd_id"
        once ceph-osd ceph-osd -c "$CEPH_CONF" -i 0 --mkfs --osd-uuid "$ceph_osd_id"
        touch "$directory/ceph-osd/made"
    fi
    spawn ceph-osd ceph-osd -c "$CEPH_CONF" -f -i 0
}

# The OSD's own word: the monitor may still hold the address of one that was killed.
ready_ceph-osd() {
    [[ $(timeout 5 ceph -c "$CEPH_CONF" daemon osd.0 status) == *'"active"'* ]]
}

# start_gateway PART NAME PORT
start_gateway() {
    require_port "$1" "$3"
    process_of ceph-osd >/dev/null || fail "$1 needs ceph-osd: start that first"
    spawn "$1" radosgw -c "$CEPH_CONF" -f -n "client.$2"
}

# Makes a user and its bucket: settle_gateway PART NAME ACCESS_KEY SECRET_KEY URL CURL_OPTION...
settle_gateway() {
    local part=$1 name=$2 access_key=$3 secret_key=$4 url=$5 answer
    shift 5
    [[ ! -e $directory/$part/settled ]] || return 0
    if ! radosgw-admin -c "$CEPH_CONF" -n client.rgw --admin-socket= user info --uid="$name" >/dev/null 2>&1; then
        once "$part" radosgw-admin -c "$CEPH_CONF" -n client.rgw --admin-socket= user create --uid="$name" \
            --display-name="$name" --access-key="$access_key" --secret-key="$secret_key" --max-buckets=0
    fi
    answer=$(curl -sS --max-time 60 --request PUT --aws-sigv4 aws:amz:us-east-1:s3 --user "$access_key:$secret_key" \
        --header 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --write-out '%{http_code}' "$@" "$url")
    [[ $answer == *200 ]] || fail "$part did not make its bucket: $answer"
    touch "$directory/$part/settled"
}

start_radosgw() { start_gateway radosgw rgw "$port_radosgw"; }
start_radosgw-oss() { start_gateway radosgw-oss oss "$port_radosgw_oss"; }

answers() { curl -fsS --max-time 5 --output /dev/null "http://127.0.0.1:$1/"; }
ready_radosgw() { answers "$port_radosgw"; }
ready_radosgw-oss() { answers "$port_radosgw_oss"; }

settle_radosgw() {
    settle_gateway radosgw ceph "$ceph_access_key" "$ceph_secret_key" "http://127.0.0.1:$port_radosgw/$ceph_bucket"
}

settle_radosgw-oss() {
    settle_gateway radosgw-oss oss "$oss_access_key" "$oss_secret_key" "http://$oss_bucket.$oss_domain:$port_radosgw_oss/" \
        --connect-to "::127.0.0.1:$port_radosgw_oss"
}

start_oss-front() {
    require_port oss-front "$port_oss_front"
    spawn oss-front "$repository/scripts/services.d/oss-front" "$port_oss_front" "$oss_domain" "$port_radosgw_oss"
}

ready_oss-front() { listens "$port_oss_front"; }
