package runs

import (
	"slices"
	"strings"
)

// AutoAttach begins a label of a context or a policy that attaches it to every stack with the label that follows, or to all with “*”.
const AutoAttach = "autoattach:"

// validNamed checks what a context and a policy have in common; what is the word for it.
func validNamed(what, name, description string, labels []string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return Invalidf("name", "Give the %s a name.", what)
	case unprintable(name):
		return Invalidf("name", "The name holds a line break or another character that cannot be printed.")
	case len(name) > 100:
		return Invalidf("name", "The name has %d bytes; 100 is the most.", len(name))
	case Slug(name) == "":
		return Invalidf("name", "The name needs at least one letter (a–z) or digit, because the %s's address is made from it.", what)
	case Slug(name) == "new": // /contexts/new and its like are the forms
		return Invalidf("name", "A %s cannot be called “%s”: that address is taken. Choose another name.", what, name)
	case len(description) > 2000:
		return Invalidf("description", "The description has %d bytes; 2000 is the most.", len(description))
	case len(labels) > 50:
		return Invalidf("labels", "There are %d labels; 50 is the most.", len(labels))
	}
	return validLabels(labels)
}

func validLabels(labels []string) error {
	for _, l := range labels {
		if strings.TrimSpace(l) == "" || len(l) > 100 || unprintable(l) {
			return Invalidf("labels", "A label is empty, longer than 100 bytes, or holds what cannot be printed.")
		}
		if label, is := strings.CutPrefix(l, AutoAttach); is && strings.TrimSpace(label) == "" {
			return Invalidf("labels", "“%s” names no label. Write %sprod for stacks with the label prod, or %s* for all stacks.", l, AutoAttach, AutoAttach)
		}
	}
	return nil
}

// autoLabels are the labels of stacks that one with these labels attaches itself to; “*” stands for every stack.
func autoLabels(labels []string) (auto []string) {
	for _, l := range labels {
		if label, is := strings.CutPrefix(l, AutoAttach); is {
			auto = append(auto, strings.TrimSpace(label))
		}
	}
	return auto
}

// attaches says by which of a stack's labels one with the labels attaches itself to it; “*” where it does to every stack.
func attaches(labels, stack []string) (label string, ok bool) {
	for _, l := range autoLabels(labels) {
		if l == "*" || slices.Contains(stack, l) {
			return l, true
		}
	}
	return "", false
}
