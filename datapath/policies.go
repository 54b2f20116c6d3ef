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

// steer has the XDP program bring what goes to the policy's remote side, and what
// comes from there in the clear although the policy does not let it pass (N4).
func (s *Server) steer(p sadb.Policy) error {
	far, near := sides(&p)
	for i, prefix := range far {
		if err := s.Steering.AddPrefix(prefix); err != nil {
			return errors.Join(err, s.takeBack(far[:i], nil))
		}
	}
	for i, prefix := range near {
		if err := s.Steering.AddHome(prefix); err != nil {
			return errors.Join(err, s.takeBack(far, near[:i]))
		}
	}
	return nil
}

func (s *Server) unsteer(p sadb.Policy) error { return s.takeBack(sides(&p)) }

func (s *Server) takeBack(far, near []netip.Prefix) error {
	var errs []error
	for _, prefix := range far {
		errs = append(errs, s.Steering.DeletePrefix(prefix))
	}
	for _, prefix := range near {
		errs = append(errs, s.Steering.DeleteHome(prefix))
	}
	return errors.Join(errs...)
}

func sides(p *sadb.Policy) (far, near []netip.Prefix) {
	far = prefixes(p.Remote)
	if p.Action != sadb.Bypass {
		near = prefixes(p.Local)
	}
	return far, near
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
