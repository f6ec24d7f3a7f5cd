// Package config finds out what the user wants: from flags, from environment variables, and from one YAML file.
//
//	flag --state-dir   wins over   LINKKIT_SIDECAR_STATE_DIR   wins over   state_dir: in the file   wins over   the default
//
// Flags are the only list of what can be set: a flag makes its variable and its key. The file has three more keys for what does
// not fit into a flag: devices, policy and limits. Whatever is not understood is an error that says where it stands: a setting
// that is silently ignored is worse than one that is missing.
//
// Secrets come from files only. No flag, variable or key takes one, so none can show up in a list of processes, in the
// environment of a child, or in a configuration that is checked in.
//
// The package knows no other room but the nouns; whoever wires the rooms translates.
package config
