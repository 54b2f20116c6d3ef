package datapath

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"spindle/sadb"
)

// PolicyAdd installs or replaces an SPD entry, and steers its traffic here. What
// cannot be done whole is not done at all.
func (s *Server) PolicyAdd(p sadb.Policy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := fmt.Sprintf("policy %d of %s/%s", p.ID, p.Conn, p.Child)
	if err := checkPolicy(&p); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := s.steer(p); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	old, replaced := s.policies[p.ID]
	put(&s.policies, p.ID, p)
	if err := s.setRoutes(); err != nil {
		if delete(s.policies, p.ID); replaced {
			s.policies[p.ID] = old
		}
		return fmt.Errorf("%s: %w", name, errors.Join(err, s.unsteer(p), s.setRoutes()))
	}
	s.DB.AddPolicy(p)
	err := s.publish()
	if replaced {
		err = errors.Join(err, s.unsteer(old))
	}
	return err
}

// checkPolicy refuses what would match nothing, or cannot be named.
func checkPolicy(p *sadb.Policy) error {
	if p.ID == 0 {
		return errors.New("0 is no policy's number")
	}
	for _, t := range slices.Concat(p.Local, p.Remote) {
		if !t.IsValid() {
			return fmt.Errorf("selector %v is not valid", t)
		}
	}
	if len(p.Local) == 0 || len(p.Remote) == 0 {
		return errors.New("it has no selectors for one of its sides")
	}
	return nil
}

// PolicyDelete removes an SPD entry.
func (s *Server) PolicyDelete(id sadb.PolicyID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.policies[id]
	if !ok {
		return fmt.Errorf("delete policy %d: there is none", id)
	}
	delete(s.policies, id)
	s.DB.DeletePolicy(id)
	return errors.Join(s.publish(), s.unsteer(p), s.setRoutes())
}

// Policies lists the SPD entries there are.
func (s *Server) Policies() []sadb.PolicyID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.policies))
}

// steer has the XDP program bring what goes to the policy's remote side.
func (s *Server) steer(p sadb.Policy) error {
	list := prefixes(p.Remote)
	for i, prefix := range list {
		if err := s.Steering.AddPrefix(prefix); err != nil {
			return errors.Join(err, s.takeBack(list[:i]))
		}
	}
	return nil
}

func (s *Server) unsteer(p sadb.Policy) error { return s.takeBack(prefixes(p.Remote)) }

func (s *Server) takeBack(list []netip.Prefix) error {
	var errs []error
	for _, prefix := range list {
		errs = append(errs, s.Steering.DeletePrefix(prefix))
	}
	return errors.Join(errs...)
}

// prefixes covers selectors, each prefix once.
func prefixes(ts []sadb.Selector) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range ts {
		list = append(list, t.Prefixes()...)
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}
