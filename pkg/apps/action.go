package apps

// Action is something a key or a token may allow (protocol §1).
type Action string

// Every action there is, spelled as in the apps document and in a token's
// permissions claim.
const (
	ActionPublish   Action = "publish"
	ActionSubscribe Action = "subscribe"
	ActionPresence  Action = "presence"
	ActionSend      Action = "send"
)

// catalogue gives each action its bit in Actions, and lists their order.
var catalogue = [...]Action{ActionPublish, ActionSubscribe, ActionPresence, ActionSend}

// ParseAction gives the action spelled s. Spelling is exact, in lower case.
func ParseAction(s string) (Action, bool) {
	a := Action(s)
	return a, a.bit() != 0
}

// bit is the action's place in Actions, 0 for what is not an action.
func (a Action) bit() Actions {
	for i, known := range catalogue {
		if a == known {
			return 1 << i
		}
	}
	return 0
}

// Actions is a set of actions. The zero value is empty. The intersection of
// two sets is a & b.
type Actions uint8

// AllActions has every action.
const AllActions Actions = 1<<len(catalogue) - 1

// ActionsOf is the set of the given actions.
func ActionsOf(actions ...Action) Actions {
	var set Actions
	for _, a := range actions {
		set.Add(a)
	}
	return set
}

// Has tells whether a is in the set. No set has an unknown action.
func (s Actions) Has(a Action) bool {
	bit := a.bit()
	return bit != 0 && s&bit != 0
}

// Add puts a into the set. It ignores an unknown action.
func (s *Actions) Add(a Action) { *s |= a.bit() }

// Contains tells whether every action of other is in s too.
func (s Actions) Contains(other Actions) bool { return other&^s == 0 }

// List gives the set's actions in a fixed order; never nil.
func (s Actions) List() []Action {
	list := make([]Action, 0, len(catalogue))
	for _, a := range catalogue {
		if s.Has(a) {
			list = append(list, a)
		}
	}
	return list
}
