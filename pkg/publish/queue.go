package publish

// Sender is a connection that messages come from. Pause stops reading from it; it is
// called in the goroutine that calls Submit. Resume undoes it, once for each Pause, from
// any goroutine, also when the connection has closed meanwhile. Neither must block.
type Sender interface {
	Pause()
	Resume()
}

// maxSpareLines is how many empty lines a queue may keep while nothing waits. If there are
// more, it drops them all.
const maxSpareLines = 1 << 10

// A line gets one more message in each turn for each longLine messages that it has.
const longLine = 16

// queue is what waits for Redis. Each sending connection has a line of its own, which
// keeps its messages in order, and the lines take turns: so a message waits behind one of
// each other connection, and not behind all that another has sent. What has no Sender is
// REST's and goes ahead.
type queue struct {
	rest  line
	lines map[uint64]*line // of the connections that have messages waiting

	first, last *line // of lines, by turns
	free        *line // empty ones, for the next that send
	spare       int   // how many
	messages    int
	bytes       int
}

// line is the messages of one sender, in order.
type line struct {
	first, last *item
	length      int
	connection  uint64
	next        *line
}

func (l *line) push(it *item) {
	if l.first == nil {
		l.first = it
	} else {
		l.last.next = it
	}
	l.last = it
	l.length++
}

func (l *line) pop() *item {
	it := l.first
	l.first, it.next = it.next, nil
	l.length--
	return it
}

// add has a message wait, and returns its sender's line.
func (q *queue) add(it *item, of *Message) *line {
	l := &q.rest
	if of.Sender != nil {
		if l = q.lines[of.Connection]; l == nil {
			l = q.open(of.Connection)
		}
	}
	l.push(it)
	q.messages++
	q.bytes += it.outgoing.Size()
	return l
}

func (q *queue) open(connection uint64) *line {
	l := q.free
	if l == nil {
		l = new(line)
	} else {
		q.free = l.next
		q.spare--
	}
	*l = line{connection: connection}
	if q.lines == nil {
		q.lines = map[uint64]*line{}
	}
	q.lines[connection] = l
	q.queueUp(l)
	return l
}

// queueUp gives the line the last turn.
func (q *queue) queueUp(l *line) {
	l.next = nil
	if q.first == nil {
		q.first = l
	} else {
		q.last.next = l
	}
	q.last = l
}

// take appends the next round trip's messages to batch, which is empty. REST has half of
// it at least, if it needs that, and connections have the other half.
func (q *queue) take(batch []*item) (taken []*item, bytes int) {
	t := trip{batch: batch}
	q.takeREST(&t, maxBatchMessages/2, maxBatchBytes/2)
	for q.first != nil && t.within(maxBatchMessages, maxBatchBytes) {
		l := q.first
		q.first = l.next
		// A line that grew long while few others sent gets on though many do now.
		for n := 1 + l.length/longLine; n > 0 && t.within(maxBatchMessages, maxBatchBytes); n-- {
			t.add(l.pop())
		}
		if l.first != nil {
			q.queueUp(l)
			continue
		}
		delete(q.lines, l.connection)
		l.next, q.free = q.free, l
		q.spare++
	}
	q.takeREST(&t, maxBatchMessages, maxBatchBytes)
	q.messages -= len(t.batch)
	q.bytes -= t.bytes
	if q.messages == 0 && q.spare > maxSpareLines { // a burst is over
		q.lines, q.free, q.spare = nil, nil, 0
	}
	return t.batch, t.bytes
}

func (q *queue) takeREST(t *trip, messages, bytes int) {
	for q.rest.first != nil && t.within(messages, bytes) {
		t.add(q.rest.pop())
	}
}

// trip is the messages of one round trip.
type trip struct {
	batch []*item
	bytes int
}

func (t *trip) within(messages, bytes int) bool { return len(t.batch) < messages && t.bytes < bytes }

func (t *trip) add(it *item) {
	t.batch = append(t.batch, it)
	t.bytes += it.outgoing.Size()
}
