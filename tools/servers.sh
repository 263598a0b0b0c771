#!/bin/sh
# The real servers that integration tests and benchmarks run against, from Debian's packages. Installed when this
# may install (root, apt); otherwise the tests that need a missing one are left out and listed with the reason.
set -u
missing=
need() { PATH="$PATH:/usr/sbin:/usr/lib/postfix/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need nginx nginx-light
need nsd nsd
need postfix postfix
need openssl openssl
need prometheus prometheus
need promtool prometheus
need prometheus-alertmanager prometheus-alertmanager
need amtool prometheus-alertmanager
need prometheus-blackbox-exporter prometheus-blackbox-exporter
need rsyslogd rsyslog
need chromium chromium
need etcd etcd-server
need pg_ctlcluster postgresql
need pgbouncer pgbouncer
need mariadbd mariadb-server
need dovecot dovecot-imapd
[ -x /usr/lib/dovecot/pop3-login ] || missing="$missing dovecot-pop3d"
[ -x /usr/lib/dovecot/lmtp ] || missing="$missing dovecot-lmtpd"
[ -x /usr/lib/dovecot/managesieve-login ] || missing="$missing dovecot-managesieved"
need vsftpd vsftpd
need slapd slapd
need prosody prosody
need xrdp xrdp
need tinyproxy tinyproxy
need microsocks microsocks
need tsql freetds-bin
need cfssl golang-cfssl
need strace strace
need knotd knot
need certbot certbot
need lego lego
need pebble pebble
need pebble-challtestsrv pebble
need caddy caddy
[ -x /usr/share/easy-rsa/easyrsa ] || missing="$missing easy-rsa"
need softhsm2-util softhsm2
need swtpm swtpm
need tpm2-abrmd tpm2-abrmd
need pkcs11-tool opensc
need dbus-run-session dbus-daemon
ls /usr/lib/*/libtss2-tcti-tabrmd.so.0 >/dev/null 2>&1 || missing="$missing libtss2-tcti-tabrmd0"
ls /usr/lib/*/libtpm2_pkcs11.so.1 >/dev/null 2>&1 || missing="$missing libtpm2-pkcs11-1"
need haproxy haproxy
need certtool gnutls-bin
need curl curl
need go golang-go
[ -d /usr/share/gocode/src/golang.org/x/mod ] || missing="$missing golang-golang-x-mod-dev"
need certspotter certspotter
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing for the tests:$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    # Nothing that is installed for a test may start by itself: each test starts its own on a free port.
    created=
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d && created=1
    fi
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/tmp/certwatch-apt.log 2>&1 ||
        { cat /tmp/certwatch-apt.log >&2; echo "could not install:$missing" >&2; }
    [ -z "$created" ] || rm -f /usr/sbin/policy-rc.d
else
    echo "not installed, the tests that need them are left out:$missing" >&2
fi
exit 0
