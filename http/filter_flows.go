package httpapi

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/sluice-dev/sluice/fsm/row"
)

func filterFlows(_ *Server, x *exchange) error {
	q, err := x.query(flowsQuerySpec, "NAME_ASC")
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	flows, err := newMatcher(x, view, q.filters).matchingFlows()
	if err != nil {
		return err
	}
	slices.SortFunc(flows, func(a, b *row.Flow) int {
		c := 0
		switch q.sort {
		case "CREATED_DESC":
			c = byTime(b.Created, a.Created)
		case "UPDATED_DESC":
			c = byTime(b.Updated, a.Updated)
		case "NAME_DESC":
			c = cmp.Compare(b.Name, a.Name)
		}
		return cmp.Or(c, cmp.Compare(a.Name, b.Name))
	})
	return list(x, cut(&q.page, flows), func(b []byte, f *row.Flow) ([]byte, error) { return flowObject(f).AppendJSON(b), nil })
}

// matchingFlows looks at the flows named by id or name, or at all: there are few.
func (m *matcher) matchingFlows() (flows []*row.Flow, err error) {
	take := func(f *row.Flow) (bool, error) {
		good, err := m.flow(f)
		if good {
			flows = append(flows, f)
		}
		return true, m.next(err)
	}
	if m.flows == nil || m.flows.id.any == nil {
		err = m.view.EachFlow(take)
		return flows, err
	}
	for _, id := range m.flows.id.any.list {
		f, err := m.view.Flow(id)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		if _, err := take(f); err != nil {
			return nil, err
		}
	}
	return flows, nil
}

func countFlows(_ *Server, x *exchange) error {
	q := &query{}
	if err := decode(x, countSpec, q); err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	flows, err := newMatcher(x, view, q.filters).matchingFlows()
	if err != nil {
		return err
	}
	return x.count(int64(len(flows)))
}

// count answers a number.
func (x *exchange) count(n int64) error {
	x.out = strconv.AppendInt(x.out, n, 10)
	return x.send(200)
}

func filterDeployments(_ *Server, x *exchange) error {
	q, err := x.query(deploymentsQuerySpec, "")
	if err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	deployments, err := newMatcher(x, view, q.filters).matchingDeployments()
	if err != nil {
		return err
	}
	slices.SortFunc(deployments, func(a, b *row.Deployment) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.Id, b.Id))
	})
	return list(x, cut(&q.page, deployments), func(b []byte, d *row.Deployment) ([]byte, error) {
		object, err := deploymentObject(d, x.strict)
		if err != nil {
			return b, err
		}
		return object.AppendJSON(b), nil
	})
}

func (m *matcher) matchingDeployments() (deployments []*row.Deployment, err error) {
	take := func(d *row.Deployment) (bool, error) {
		good, err := m.deployment(d)
		if good {
			deployments = append(deployments, d)
		}
		return true, m.next(err)
	}
	if m.deployments == nil || m.deployments.id.any == nil {
		err = m.view.EachDeployment(take)
		return deployments, err
	}
	for _, id := range m.deployments.id.any.list {
		d, err := m.view.Deployment(id)
		if err != nil {
			return nil, err
		}
		if d == nil {
			continue
		}
		if _, err := take(d); err != nil {
			return nil, err
		}
	}
	return deployments, nil
}

func countDeployments(_ *Server, x *exchange) error {
	q := &query{}
	if err := decode(x, countSpec, q); err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	deployments, err := newMatcher(x, view, q.filters).matchingDeployments()
	if err != nil {
		return err
	}
	return x.count(int64(len(deployments)))
}
