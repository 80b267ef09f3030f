# bash completion for storescu, made by completions/generate.py from the option tables.

_storescu()
{
    local -A values=(
        [-ll]='off,fatal,error,warn,info,debug,trace,all'
        [--log-level]='off,fatal,error,warn,info,debug,trace,all'
        [-lc]='file'
        [--log-config]='file'
        [+sp]='text'
        [--scan-pattern]='text'
        [-aet]='text'
        [--aetitle]='text'
        [-aec]='text'
        [--call]='text'
        [-xf]='file text'
        [--config-file]='file text'
        [+cl]='text'
        [--compression-level]='text'
        [-usr]='text'
        [--user]='text'
        [-pwd]='text'
        [--password]='text'
        [-kt]='file'
        [--kerberos]='file'
        [--saml]='file'
        [--jwt]='file'
        [-to]='text'
        [--timeout]='text'
        [-ts]='text'
        [--socket-timeout]='text'
        [-ta]='text'
        [--acse-timeout]='text'
        [-td]='text'
        [--dimse-timeout]='text'
        [-pdu]='text'
        [--max-pdu]='text'
        [--max-send-pdu]='text'
        [--repeat]='text'
        [+IR]='text'
        [--invent-series]='text'
        [+IS]='text'
        [--invent-study]='text'
        [+IP]='text'
        [--invent-patient]='text'
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
        [--request-sni]='text'
        [+rs]='file'
        [--seed]='file'
        [+wf]='file'
        [--write-seed-file]='file'
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
            mapfile -t COMPREPLY < <(compgen -W '-h --help --version --arguments -q --quiet -v --verbose -d --debug -ll --log-level -lc --log-config +v --verbose-pc +f --read-file +fo --read-file-only -f --read-dataset +sd --scan-directories +sp --scan-pattern -r --no-recurse +r --recurse -rn --no-rename +rn --rename -i4 --ipv4 -i6 --ipv6 -i0 --ip-auto -aet --aetitle -aec --call -xf --config-file -x= --propose-uncompr -xe --propose-little -xb --propose-big -xi --propose-implicit -xs --propose-lossless -xy --propose-jpeg8 -xx --propose-jpeg12 -xv --propose-j2k-lossless -xw --propose-j2k-lossy -xt --propose-jls-lossless -xu --propose-jls-lossy -xm --propose-mpeg2 -xh --propose-mpeg2-high -xn --propose-mpeg4 -xl --propose-mpeg4-bd -x2 --propose-mpeg4-2-2d -x3 --propose-mpeg4-2-3d -xo --propose-mpeg4-2-st -x4 --propose-hevc -x5 --propose-hevc10 -xr --propose-rle -xd --propose-deflated -R --required +C --combine +u --enable-new-vr -u --disable-new-vr +cl --compression-level -usr --user -pwd --password -epw --empty-password -kt --kerberos --saml --jwt -rsp --pos-response -to --timeout -ts --socket-timeout -ta --acse-timeout -td --dimse-timeout -pdu --max-pdu --max-send-pdu --repeat --abort -nh --no-halt -up --uid-padding +II --invent-instance +IR --invent-series +IS --invent-study +IP --invent-patient -tls --disable-tls +tls --enable-tls +tla --anonymous-tls +ps --std-passwd +pw --use-passwd -pw --null-passwd -pem --pem-keys -der --der-keys +cf --add-cert-file +cd --add-cert-dir +crl --add-crl-file +crv --enable-crl-vfy +cra --enable-crl-all +ph --list-profiles +pg --profile-8996 +pm --profile-8996-mod +py --profile-bcp195-nd +px --profile-bcp195 +pz --profile-bcp195-ex +pb --profile-basic +pa --profile-aes +pn --profile-null +cc --list-ciphers +cs --cipher --no-sni --request-sni +rs --seed +ws --write-seed +wf --write-seed-file -rc --require-peer-cert -ic --ignore-peer-cert' -- "$cur")
            return
        elif [[ $cur == @* ]]; then
            mapfile -t COMPREPLY < <(compgen -P @ -f -- "${cur#@}")
            return
        fi
        case $parameters in
        0) kind='host' ;;
        1) kind='104,2762,11112' ;;
        *) kind='file' ;;
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
complete -F _storescu storescu
