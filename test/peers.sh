#!/bin/bash
# Installs the programs the tests talk to, where this is root on Debian.
# Anywhere else it does nothing: tests whose peer is missing say so and skip.
set -eu
peers=(dovecot-imapd dovecot-pop3d dovecot-lmtpd postfix slapd ldap-utils libsasl2-modules isync offlineimap3 swaks libnet-ssleay-perl
  libauthen-sasl-perl gsasl mpop fetchmail mutt curl courier-base libgamin0 libidn12 openssl zstd pst-utils pff-tools opendkim-tools opendkim rspamd clamav-daemon clamav-milter spamassassin spamd spamass-milter)
# What Cyrus needs, which is itself unpacked beside, and conflicts with the others.
peers+=(libicu72 libjansson4 libkrb5-3 libldap-2.5-0 libpcre3 libpq5 libsqlite3-0 libwrap0 libxapian30 libxml2 libzephyr4 libical3 libclamav12)
missing=()
for p in "${peers[@]}"; do
  dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
done
# Debian's IMAP servers conflict with one another: Courier's is unpacked beside.
courier=/opt/expost-peers/courier
[ -x $courier/usr/bin/imapd ] || missing+=(courier-imap)
cyrus=/opt/expost-peers/cyrus
[ -x $cyrus/usr/lib/cyrus/bin/master ] || missing+=(cyrus-imapd)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "peers: ${missing[*]} not installed; the tests that need them will skip" >&2
  exit 0
fi
# The packages' own services must not start: the tests run their own.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
printf '%s\n' 'postfix postfix/main_mailer_type select No configuration' 'slapd slapd/no_configuration boolean true' 'courier-base courier-base/webadmin-configmode boolean false' | debconf-set-selections
apt-get update -qq
packages=()
for p in "${missing[@]}"; do
  case $p in courier-imap | cyrus-imapd) ;; *) packages+=("$p") ;; esac
done
[ ${#packages[@]} -eq 0 ] || apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
unpack() { # into a folder, packages
  mkdir -p "$1"
  (cd "$1" && apt-get download -qq "${@:2}" && for deb in *.deb; do dpkg -x "$deb" .; done && rm ./*.deb)
}
[ -x $courier/usr/bin/imapd ] || unpack $courier courier-imap
[ -x $cyrus/usr/lib/cyrus/bin/master ] || unpack $cyrus cyrus-common cyrus-imapd cyrus-pop3d
