package hub

// audience is the subscribers of one channel or pattern, or a peer's connections.
type audience struct {
	members []member
	index   map[uint64]int // where in members an id is; nil while they are few
}

type member struct {
	subscriber Subscriber
	id         uint64
	Options
	order uint32 // of subscribing; it wraps around
}

// few members are found faster without an index, and most audiences are few.
const few = 16

func (a *audience) find(s Subscriber) int { return a.findID(s.ID()) }

func (a *audience) findID(id uint64) int {
	if a.index != nil {
		if i, ok := a.index[id]; ok {
			return i
		}
		return -1
	}
	for i := range a.members {
		if a.members[i].id == id {
			return i
		}
	}
	return -1
}

func (a *audience) put(s Subscriber, opt Options, order uint32) {
	m := member{s, s.ID(), opt, order}
	if i := a.find(s); i >= 0 {
		a.members[i] = m
		return
	}
	a.members = append(a.members, m)
	switch n := len(a.members); {
	case a.index != nil:
		a.index[s.ID()] = n - 1
	case n > few:
		a.index = make(map[uint64]int, 2*n)
		for i := range a.members {
			a.index[a.members[i].id] = i
		}
	}
}

func (a *audience) remove(s Subscriber) bool {
	i := a.find(s)
	if i < 0 {
		return false
	}
	last := len(a.members) - 1
	a.members[i] = a.members[last]
	a.members[last] = member{}
	a.members = a.members[:last]
	switch {
	case a.index == nil:
	case last <= few:
		a.index = nil
	default:
		if i < last {
			a.index[a.members[i].id] = i
		}
		delete(a.index, s.ID())
	}
	return true
}
