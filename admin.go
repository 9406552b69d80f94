package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"groundcrew/store"
)

// adminLinkLife is how long the link of groundcrew admin is valid.
const adminLinkLife = time.Hour

// admin prints a one-time link with which an account becomes an admin with a password: the way back in when nobody can sign
// in. It only writes a file into the data folder, so it works while the server runs and while it is stopped.
func admin(c config, stdout io.Writer) error {
	if strings.TrimSpace(c.adminName) == "" || store.ReservedName(c.adminName) {
		return usageError{exitUsage, fmt.Sprintf("--name %q cannot be the name of an account", c.adminName)}
	}
	token, err := store.WriteRescue(c.dataDir, c.adminName, time.Now().Add(adminLinkLife))
	if err != nil {
		return err
	}
	url := strings.TrimRight(c.externalURL, "/")
	if url == "" {
		url = scheme(c) + "://" + c.listen
	}
	fmt.Fprintf(stdout, "Open this link within an hour, once. It makes %q an admin with a password you choose, and allows passwords again:\n  %s/welcome?token=%s\n", c.adminName, url, token)
	return nil
}

// prefixes are networks, given as a list with commas; a single address is a network of one.
type prefixes []netip.Prefix

func (p *prefixes) String() string {
	var out []string
	for _, x := range *p {
		out = append(out, x.String())
	}
	return strings.Join(out, ",")
}

// Set implements flag.Value.
func (p *prefixes) Set(text string) error {
	var out prefixes
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		if a, err := netip.ParseAddr(part); err == nil {
			out = append(out, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			continue
		}
		x, err := netip.ParsePrefix(part)
		if err != nil {
			return fmt.Errorf("%q is no address and no network like 10.0.0.0/8", part)
		}
		if x.Bits() == 0 {
			return fmt.Errorf("%s would believe everybody; name the proxies", part)
		}
		out = append(out, x.Masked())
	}
	*p = out
	return nil
}
