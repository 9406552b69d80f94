package redact

// An automaton finds any of many patterns in one pass (Aho and Corasick, 1975). State 0 is the root. Each
// state stands for a prefix of a pattern; after a byte the state is the longest such prefix that the text
// read so far ends with. The children of a state are a linked list: nearly all have one, so this takes a
// fraction of a table's memory and patterns may be large (private keys in a dozen forms).
type automaton struct {
	root  [256]int32 // the root's children by byte, because most text never leaves the root
	nodes []node
}

type node struct {
	child, sibling int32 // first child; next child of the same parent; 0 = none
	fail           int32 // the longest proper suffix that is a prefix of a pattern
	depth          int32 // bytes from the root
	longest        int32 // the longest pattern that ends here, in bytes; 0 = none
	open           int32 // how many of the last bytes may be the beginning of a longer match
	b              byte  // the byte that leads here
}

func newAutomaton() *automaton { return &automaton{nodes: make([]node, 1)} }

// add adds a pattern. All must be added before link.
func (a *automaton) add(pattern string) {
	s := int32(0)
	for i := range len(pattern) {
		next := a.childOf(s, pattern[i])
		if next == 0 {
			next = a.grow(s, pattern[i])
		}
		s = next
	}
	a.nodes[s].longest = a.nodes[s].depth
}

func (a *automaton) grow(parent int32, b byte) int32 {
	n := int32(len(a.nodes))
	a.nodes = append(a.nodes, node{sibling: a.nodes[parent].child, depth: a.nodes[parent].depth + 1, b: b})
	a.nodes[parent].child = n
	if parent == 0 {
		a.root[b] = n
	}
	return n
}

// link computes the failure links, nearest to the root first.
func (a *automaton) link() {
	queue := make([]int32, 0, len(a.nodes))
	queue = append(queue, 0)
	for i := 0; i < len(queue); i++ {
		s := queue[i]
		for c := a.nodes[s].child; c != 0; c = a.nodes[c].sibling {
			if s != 0 {
				f := a.next(a.nodes[s].fail, a.nodes[c].b)
				a.nodes[c].fail = f
				a.nodes[c].longest = max(a.nodes[c].longest, a.nodes[f].longest)
			}
			a.nodes[c].open = a.nodes[c].depth
			if a.nodes[c].child == 0 {
				a.nodes[c].open = a.nodes[a.nodes[c].fail].open
			}
			queue = append(queue, c)
		}
	}
}

func (a *automaton) childOf(s int32, b byte) int32 {
	if s == 0 {
		return a.root[b]
	}
	for c := a.nodes[s].child; c != 0; c = a.nodes[c].sibling {
		if a.nodes[c].b == b {
			return c
		}
	}
	return 0
}

// next is the state after byte b in state s.
func (a *automaton) next(s int32, b byte) int32 {
	for s != 0 {
		if c := a.childOf(s, b); c != 0 {
			return c
		}
		s = a.nodes[s].fail
	}
	return a.root[b]
}

// match is the length of the longest pattern that the text ends with in state s, 0 for none.
func (a *automaton) match(s int32) int { return int(a.nodes[s].longest) }

// open is how many of the text's last bytes may be the beginning of a match to come.
func (a *automaton) open(s int32) int { return int(a.nodes[s].open) }
