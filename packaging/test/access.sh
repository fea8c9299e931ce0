# Who may ask.

socket=/run/socktrace/socktrace.sock
equal 'the socket is for root and the group' 'srw-rw---- socktrace' stat --format='%A %G' "$socket"
useradd --groups socktrace member
useradd stranger
list=(curl -sS --fail --unix-socket "$socket" http://socktrace/api/v1/sockets)
holds 'root asks' bash -c "socktrace sockets | wc -l"
holds 'root asks over the socket' bash -c "${list[*]} | wc -l"
holds 'a member of the group asks' as member bash -c 'socktrace sockets | grep :4444'
holds 'and sees who holds what is not theirs' as member bash -c 'socktrace sockets | grep perl'
holds 'over the socket, too' as member bash -c "${list[*]} | wc -l"
refused 'a stranger is not let in' as stranger "${list[@]}"
holds 'nor is the command' as stranger bash -c "socktrace sockets 2>&1 >/dev/null | grep -A 1 'socktrace.sock'"
holds 'Prometheus is answered' bash -c \
    'curl -sS --fail http://127.0.0.1:10137/metrics | grep ^socktrace_build_info'
holds 'it sees sockets of others' bash -c \
    'curl -sS http://127.0.0.1:10137/metrics | grep "^socktrace_sockets{.*close_wait.* [1-9]"'
holds 'the hooks are attached' bash -c \
    'curl -sS http://127.0.0.1:10137/metrics | grep "^socktrace_hook_attached{" | grep -c " 1$"'
equal 'all of them' '' bash -c \
    'curl -sS http://127.0.0.1:10137/metrics | grep "^socktrace_hook_attached{" | grep " 0$"'
