package group

// Waiting is how many requests wait for a group.
func (s *Service) Waiting(app, group string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting[s.opt.Keys.GroupTopic(app, group)])
}
