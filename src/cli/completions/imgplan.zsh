#compdef imgplan
# Completions of imgplan for zsh.

_imgplan() {
    local line value prefix=${(Q)PREFIX} home
    local -a words_before folders others
    words_before=("${(@Q)words[1,CURRENT-1]}")
    # In a value, the tilde of a home folder would be quoted.
    compset -P '\~/' && home='~/'
    # Without an alias of the name.
    for line in "${(@f)$(IMGPLAN_COMPLETE=zsh command imgplan -- "${words_before[@]}" "$prefix" 2>/dev/null)}"; do
        line=${line#$home}
        value=${line%%:*}
        case $value in
            '') ;;
            */) folders+=("${value%/}") ;;
            *) others+=("$line") ;;
        esac
    done
    (( ${#folders} )) && _describe -V 'folders' folders -S /
    (( ${#others} )) && _describe -V 'values' others
}

# As a file in `fpath`, this is the function itself; as a script, it registers the function.
if [[ ${funcstack[1]} == _imgplan ]]; then
    _imgplan "$@"
elif (( ${+functions[compdef]} )); then
    compdef _imgplan imgplan
fi
