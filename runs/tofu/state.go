package tofu

import (
	"encoding/json"

	"groundcrew/runs"
)

// A StateInfo is what can be told of a state without showing its resources.
type StateInfo struct {
	Version          int // of the format: 4
	Serial           uint64
	Lineage          string
	Resources        int // instances of managed resources
	Outputs          map[string]Output
	TerraformVersion string // of the tool that wrote it
	Encrypted        bool   // by the tool itself: then only Serial and Lineage are known
}

// An Output is one output in a state.
type Output struct {
	Value     string // compact JSON; "" when sensitive
	Sensitive bool
}

// ReadState reads a state file: format 4, written by Terraform since 0.12 and by OpenTofu, also one that
// OpenTofu has encrypted. The error is an ErrInvalid for people.
func ReadState(b []byte) (StateInfo, error) {
	var s struct {
		Version          int    `json:"version"`
		TerraformVersion string `json:"terraform_version"`
		Serial           uint64 `json:"serial"`
		Lineage          string `json:"lineage"`
		Outputs          map[string]struct {
			Value     json.RawMessage `json:"value"`
			Sensitive bool            `json:"sensitive"`
		} `json:"outputs"`
		Resources []struct {
			Mode      string            `json:"mode"`
			Instances []json.RawMessage `json:"instances"`
		} `json:"resources"`
		EncryptedData string `json:"encrypted_data"`
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return StateInfo{}, runs.Invalidf("state", "This is no state file: %v.", err)
	}
	if s.EncryptedData != "" {
		return StateInfo{Serial: s.Serial, Lineage: s.Lineage, Encrypted: true}, nil
	}
	if s.Version != 4 {
		return StateInfo{}, runs.Invalidf("state", "The state has format %d; only format 4 can be read. Open it once with Terraform 0.12 or newer, which converts it.", s.Version)
	}
	info := StateInfo{Version: s.Version, Serial: s.Serial, Lineage: s.Lineage, TerraformVersion: s.TerraformVersion, Outputs: map[string]Output{}}
	for _, r := range s.Resources {
		if r.Mode == "managed" {
			info.Resources += len(r.Instances)
		}
	}
	for name, o := range s.Outputs {
		out := Output{Sensitive: o.Sensitive}
		if !o.Sensitive {
			out.Value = compact(o.Value)
		}
		info.Outputs[name] = out
	}
	return info, nil
}
