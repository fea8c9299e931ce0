# A newer version, whose configuration is another.

# newer VERSION: makes it of the package, and prints where it is.
newer() {
    local tree
    tree=$(mktemp -d)
    dpkg-deb --raw-extract "$package" "$tree" || return
    sed -i "s/^Version: .*/Version: $1/" "$tree/DEBIAN/control"
    echo "# New in $1." >>"$tree/etc/default/socktrace"
    echo "# New in $1." >>"$tree/etc/socktrace/socktrace.toml"
    (cd "$tree" && find usr etc -type f -exec md5sum {} +) >"$tree/DEBIAN/md5sums"
    chmod 755 "$tree"
    dpkg-deb -Znone --build "$tree" "/tmp/socktrace_$1.deb" >/dev/null && echo "/tmp/socktrace_$1.deb"
}

echo '# A person wrote this.' >>/etc/default/socktrace
before=$(main_pid)
holds 'a newer version is installed' dpkg --force-confdef --force-confold --install "$(newer 9.1)"
equal 'it is this version' 9.1 dpkg-query --showformat '${Version}' --show socktrace
soon 60 'the daemon is the new one' restarted "$before"
holds 'what a person changed is kept' grep 'A person wrote this' /etc/default/socktrace
holds 'with the new one beside it' grep 'New in 9.1' /etc/default/socktrace.dpkg-dist
holds 'what nobody changed is new' grep 'New in 9.1' /etc/socktrace/socktrace.toml
holds 'it is switched off' systemctl disable --now socktrace
holds 'an even newer version is installed' dpkg --force-confdef --force-confold --install "$(newer 9.2)"
equal 'and it stays switched off' disabled systemctl is-enabled socktrace
equal 'and does not run' inactive systemctl is-active socktrace
holds 'it is switched on again' systemctl enable --now socktrace
