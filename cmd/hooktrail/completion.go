package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"

	"github.com/alecthomas/kong"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is shown with --help.
func (*completionCommand) Help() string {
	return example(
		"source <(hooktrail completion bash)         # in ~/.bashrc",
		"source <(hooktrail completion zsh)          # in ~/.zshrc, after compinit",
		"hooktrail completion fish | source          # in ~/.config/fish/config.fish",
	)
}

// Run prints the script, which is made from the commands as they are.
func (c *completionCommand) Run(out io.Writer, command *kong.Context) error {
	return completionScripts.ExecuteTemplate(out, c.Shell, completions(command.Model))
}

// completed is a command as the scripts see it.
type completed struct {
	Path     string // "hooktrail triggers list"
	Commands []suggestion
	Flags    []suggestion
}

// suggestion is a word that may come next.
type suggestion struct {
	Word, Help string
	Short      string   // "o" for -o
	Values     []string // of a flag that has few
	TakesValue bool
}

// completions gives all commands, the whole program first.
func completions(app *kong.Application) []completed {
	var all []completed
	var visit func(node *kong.Node, path string)
	visit = func(node *kong.Node, path string) {
		c := completed{Path: path}
		for _, child := range node.Children {
			if !child.Hidden {
				c.Commands = append(c.Commands, suggestion{Word: child.Name, Help: child.Help})
			}
		}
		for _, arg := range node.Positional {
			for _, value := range values(arg) {
				c.Commands = append(c.Commands, suggestion{Word: value, Help: arg.Help})
			}
		}
		for _, level := range node.AllFlags(true) {
			for _, flag := range level {
				s := suggestion{Word: "--" + flag.Name, Help: flag.Help, Values: values(flag.Value), TakesValue: !flag.IsBool()}
				if flag.Short != 0 {
					s.Short = string(flag.Short)
				}
				c.Flags = append(c.Flags, s)
				if flag.IsBool() && flag.Tag.Negatable != "" {
					c.Flags = append(c.Flags, suggestion{Word: "--no-" + flag.Name, Help: flag.Help})
				}
			}
		}
		all = append(all, c)
		for _, child := range node.Children {
			if !child.Hidden {
				visit(child, path+" "+child.Name)
			}
		}
	}
	visit(app.Node, app.Name)
	return all
}

func values(value *kong.Value) []string {
	if value.Enum == "" {
		return nil
	}
	return slices.DeleteFunc(value.EnumSlice(), func(text string) bool { return text == "" })
}

// quoted makes a text one word of any of the shells.
func quoted(text string) string {
	return "'" + strings.NewReplacer("'", "", `\`, "", "\n", " ").Replace(text) + "'"
}

// described is a suggestion of zsh: what stands before the first colour is inserted.
func described(s suggestion) string {
	return quoted(strings.ReplaceAll(s.Word, ":", "") + ":" + s.Help)
}

func words(suggestions []suggestion) string {
	list := make([]string, len(suggestions))
	for i, s := range suggestions {
		list[i] = s.Word
	}
	return quoted(strings.Join(list, " "))
}

var completionScripts = template.Must(template.New("").Funcs(template.FuncMap{
	"quoted": quoted, "described": described, "words": words, "join": func(list []string) string { return quoted(strings.Join(list, " ")) },
	"arguments": func(path string) string { // what follows the program's name
		_, rest, _ := strings.Cut(path, " ")
		return quoted(rest)
	},
	"sprintf": fmt.Sprintf,
}).Parse(`
{{- define "path"}}    local word known='hooktrail'
    for word in "${words[@]:1:$((at - 1))}"; do
        case "$known $word" in
{{- range .}}{{if ne .Path "hooktrail"}}
            {{quoted .Path}}) known="$known $word" ;;
{{- end}}{{end}}
        esac
    done
{{end}}

{{- define "bash"}}# Completion of hooktrail in bash.
_hooktrail() {
    local words=("${COMP_WORDS[@]}") at=$COMP_CWORD current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    # bash takes = for a word of its own.
    if [[ $current == = ]]; then current=''
    elif [[ $before == = ]]; then before=${COMP_WORDS[COMP_CWORD-2]}
    fi
{{template "path" .}}    local commands='' flags=''
    case "$known" in
{{- range .}}
        {{quoted .Path}}) commands={{words .Commands}} flags={{words .Flags}} ;;
{{- end}}
    esac
    case "$known $before" in
{{- range $c := .}}{{range .Flags}}{{if .Values}}
        {{quoted (sprintf "%s %s" $c.Path .Word)}}{{if .Short}}|{{quoted (sprintf "%s -%s" $c.Path .Short)}}{{end}}) COMPREPLY=($(compgen -W {{join .Values}} -- "$current")); return ;;
{{- end}}{{end}}{{end}}
    esac
    COMPREPLY=()
    if [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$current"))
    elif [[ -n $commands ]]; then
        COMPREPLY=($(compgen -W "$commands" -- "$current"))
    fi
}
complete -o default -F _hooktrail hooktrail
{{end}}

{{- define "zsh"}}#compdef hooktrail
# Completion of hooktrail in zsh.
_hooktrail() {
    local word known='hooktrail' before=${words[CURRENT-1]} current=${words[CURRENT]}
    for word in "${(@)words[2,CURRENT-1]}"; do
        case "$known $word" in
{{- range .}}{{if ne .Path "hooktrail"}}
            {{quoted .Path}}) known="$known $word" ;;
{{- end}}{{end}}
        esac
    done
    case "$known $before" in
{{- range $c := .}}{{range .Flags}}{{if .Values}}
        {{quoted (sprintf "%s %s" $c.Path .Word)}}{{if .Short}}|{{quoted (sprintf "%s -%s" $c.Path .Short)}}{{end}}) compadd -- {{range .Values}}{{quoted .}} {{end}}; return ;;
{{- end}}{{end}}{{end}}
    esac
    local -a _commands _flags
    case "$known" in
{{- range .}}
        {{quoted .Path}})
            _commands=({{range .Commands}}
                {{described .}}{{end}})
            _flags=({{range .Flags}}
                {{described .}}{{end}}) ;;
{{- end}}
    esac
    if [[ $current == -* ]]; then
        _describe flag _flags
    elif (( ${#_commands} )); then
        _describe command _commands
    else
        _files
    fi
}
compdef _hooktrail hooktrail
{{end}}

{{- define "fish"}}# Completion of hooktrail in fish.
function __hooktrail_at
    set -l known hooktrail
    for word in (commandline -opc)[2..]
        switch "$known $word"
{{- range .}}{{if ne .Path "hooktrail"}}
            case {{quoted .Path}}
                set known "$known $word"
{{- end}}{{end}}
        end
    end
    test "$known" = (string trim "hooktrail $argv")
end
complete -c hooktrail -e
{{range $c := .}}
{{- range .Commands}}complete -c hooktrail -n "__hooktrail_at {{arguments $c.Path}}" -f -a {{quoted .Word}} -d {{quoted .Help}}
{{end}}
{{- range .Flags}}complete -c hooktrail -n "__hooktrail_at {{arguments $c.Path}}" -l {{slice .Word 2}}{{if .Short}} -s {{.Short}}{{end}}{{if .Values}} -x -a {{join .Values}}{{else if .TakesValue}} -r{{end}} -d {{quoted .Help}}
{{end}}{{end}}{{end}}`))
