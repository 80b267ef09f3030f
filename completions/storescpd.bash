# bash completion for storescpd storescp, made by completions/generate.py from the option tables.

_storescpd()
{
    local -A values=(
        [-ll]='off,fatal,error,warn,info,debug,trace,all'
        [--log-level]='off,fatal,error,warn,info,debug,trace,all'
        [-lc]='file'
        [--log-config]='file'
        [--max-associations]='text'
        [-xf]='file text'
        [--config-file]='file text'
        [-ts]='text'
        [--socket-timeout]='text'
        [-ta]='text'
        [--acse-timeout]='text'
        [-td]='text'
        [--dimse-timeout]='text'
        [-aet]='text'
        [--aetitle]='text'
        [-pdu]='text'
        [--max-pdu]='text'
        [--sleep-after]='text'
        [--sleep-during]='text'
        [+tls]='file file'
        [--enable-tls]='file file'
        [+pw]='text'
        [--use-passwd]='text'
        [+cf]='file'
        [--add-cert-file]='file'
        [+cd]='directory'
        [--add-cert-dir]='directory'
        [+crl]='file'
        [--add-crl-file]='file'
        [+cs]='text'
        [--cipher]='text'
        [+dp]='file'
        [--dhparam]='file'
        [--expect-sni]='text'
        [+rs]='file'
        [--seed]='file'
        [+wf]='file'
        [--write-seed-file]='file'
        [-od]='directory'
        [--output-directory]='directory'
        [+p]='text text'
        [--padding-create]='text text'
        [+cl]='text'
        [--compression-level]='text'
        [-ss]='text'
        [--sort-conc-studies]='text'
        [-su]='text'
        [--sort-on-study-uid]='text'
        [-fe]='text'
        [--filename-extension]='text'
        [-xcr]='command'
        [--exec-on-reception]='command'
        [-xcs]='command'
        [--exec-on-eostudy]='command'
        [-tos]='text'
        [--eostudy-timeout]='text'
        [--conf]='file'
        [--bind]='host'
        [--idle-exit]='text'
        [--max-associations-per-peer]='text'
        [--on-limit]='wait,reject'
        [--grace-period]='text'
        [--pid-file]='file'
        [--user]='user'
        [--group]='group'
        [--umask]='text'
        [--chdir]='directory'
    )
    local line=$COMP_LINE word
    local -a words=() kinds=()
    # A value may hold what bash takes for the end of a word, such as a colon.
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ ${#words[@]} == 0 || $line == [[:space:]]* ]]; then
            words+=("$word")
        else
            words[-1]+=$word
        fi
        line=${line#"${line%%[![:space:]]*}"}
        line=${line#"$word"}
    done
    local cur=${words[-1]} parameters=0
    # Values are taken as they stand, so only a walk from the left tells what comes next.
    for word in "${words[@]:1:${#words[@]}-2}"; do
        if ((${#kinds[@]})); then
            kinds=("${kinds[@]:1}")
        elif [[ -n $word && -n ${values[$word]-} ]]; then
            read -ra kinds <<<"${values[$word]}"
        elif [[ $word != [-+][!0-9]* ]]; then
            ((++parameters))
        fi
    done
    local kind=${kinds[0]-}
    if [[ -z $kind ]]; then
        if [[ $cur == [-+]* ]]; then
            mapfile -t COMPREPLY < <(compgen -W '-h --help --version --arguments -q --quiet -v --verbose -d --debug -ll --log-level -lc --log-config +v --verbose-pc --single-process --fork --max-associations -i4 --ipv4 -i6 --ipv6 -i0 --ip-auto -xf --config-file +x= --prefer-uncompr +xe --prefer-little +xb --prefer-big +xs --prefer-lossless +xy --prefer-jpeg8 +xx --prefer-jpeg12 +xv --prefer-j2k-lossless +xw --prefer-j2k-lossy +xt --prefer-jls-lossless +xu --prefer-jls-lossy +xm --prefer-mpeg2 +xh --prefer-mpeg2-high +xn --prefer-mpeg4 +xl --prefer-mpeg4-bd +x2 --prefer-mpeg4-2-2d +x3 --prefer-mpeg4-2-3d +xo --prefer-mpeg4-2-st +x4 --prefer-hevc +x5 --prefer-hevc10 +xr --prefer-rle +xd --prefer-deflated +xi --implicit +xa --accept-all -ac --access-full +ac --access-control -id --inetd -ts --socket-timeout -ta --acse-timeout -td --dimse-timeout -aet --aetitle -pdu --max-pdu -dhl --disable-host-lookup --refuse --reject --ignore --sleep-after --sleep-during --abort-after --abort-during -pm --promiscuous -up --uid-padding -tls --disable-tls +tls --enable-tls +ps --std-passwd +pw --use-passwd -pw --null-passwd -pem --pem-keys -der --der-keys +cf --add-cert-file +cd --add-cert-dir +crl --add-crl-file +crv --enable-crl-vfy +cra --enable-crl-all +ph --list-profiles +pg --profile-8996 +pm --profile-8996-mod +py --profile-bcp195-nd +px --profile-bcp195 +pz --profile-bcp195-ex +pb --profile-basic +pa --profile-aes +pn --profile-null +cc --list-ciphers +cs --cipher +dp --dhparam --no-sni --expect-sni +rs --seed +ws --write-seed +wf --write-seed-file -rc --require-peer-cert -vc --verify-peer-cert -ic --ignore-peer-cert -od --output-directory -B --normal +B --bit-preserving +F --write-file -F --write-dataset +t= --write-xfer-same +te --write-xfer-little +tb --write-xfer-big +ti --write-xfer-implicit +td --write-xfer-deflated +u --enable-new-vr -u --disable-new-vr +g= --group-length-recalc +g --group-length-create -g --group-length-remove +e --length-explicit -e --length-undefined -p --padding-off +p --padding-create -uc --retain-un +uc --convert-un +cl --compression-level -ss --sort-conc-studies -su --sort-on-study-uid -sp --sort-on-patientname -uf --default-filenames +uf --unique-filenames -tn --timenames -fe --filename-extension -xcr --exec-on-reception -xcs --exec-on-eostudy -rns --rename-on-eostudy -tos --eostudy-timeout -xs --exec-sync --conf --check-config --bind --inetd-wait --idle-exit --max-associations-per-peer --on-limit --fsync --sort-bit-preserving --store-unparseable --grace-period --daemon --pid-file --user --group --umask --chdir --syslog' -- "$cur")
            return
        elif [[ $cur == @* ]]; then
            mapfile -t COMPREPLY < <(compgen -P @ -f -- "${cur#@}")
            return
        fi
        case $parameters in
        0) kind='104,2762,11112' ;;
        esac
    fi
    case $kind in
    file) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); compopt -o filenames ;;
    directory) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); compopt -o filenames ;;
    user) mapfile -t COMPREPLY < <(compgen -u -- "$cur") ;;
    group) mapfile -t COMPREPLY < <(compgen -g -- "$cur") ;;
    command) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
    host) mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur") ;;
    *,*) mapfile -t COMPREPLY < <(compgen -W "${kind//,/ }" -- "$cur") ;;
    *) COMPREPLY=() ;;
    esac
    # bash replaces what follows the last of its own word ends only.
    word=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=("${COMPREPLY[@]#"${cur%"${word##*[:=]}"}"}")
}
complete -F _storescpd storescpd storescp
