package httpapi

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

func filterFlows(_ *Server, x *exchange) error {
	q, err := x.query(flowsQuerySpec, x.naturalOrder("NAME_ASC"))
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
	if x.byCursor() {
		page, err := x.flowsByCursor(view, q, flows)
		if err != nil {
			return err
		}
		return list(x, page, func(b []byte, f *row.Flow) ([]byte, error) { return flowObject(f).AppendJSON(b), nil })
	}
	slices.SortFunc(flows, flowOrder(q.sort))
	return list(x, cut(&q.page, flows), func(b []byte, f *row.Flow) ([]byte, error) { return flowObject(f).AppendJSON(b), nil })
}

// flowOrder compares flows; no two have one name.
func flowOrder(sort string) func(a, b *row.Flow) int {
	return func(a, b *row.Flow) int {
		c := 0
		switch sort {
		case "CREATED_DESC":
			c = byTime(b.Created, a.Created)
		case "UPDATED_DESC":
			c = byTime(b.Updated, a.Updated)
		case "NAME_DESC":
			c = cmp.Compare(b.Name, a.Name)
		}
		return cmp.Or(c, cmp.Compare(a.Name, b.Name))
	}
}

// naturalOrder is how a list is sorted that is not asked for an order: by cursor "", which is by id.
func (x *exchange) naturalOrder(sort string) string {
	if x.byCursor() {
		return ""
	}
	return sort
}

func (x *exchange) flowsByCursor(view *state.View, q *query, flows []*row.Flow) ([]*row.Flow, error) {
	if q.sort == "" {
		return pageByCursor(x, listFlows, &q.page, flows, func(f *row.Flow) api.ID { return idOf(f.Id) })
	}
	return sortedPage(x, listFlows, &q.page, flows, listOrder[*row.Flow]{
		compare: flowOrder(q.sort),
		placeOf: func(f *row.Flow) sortPlace {
			p := sortPlace{id: idOf(f.Id), name: f.Name}
			switch q.sort {
			case "CREATED_DESC":
				p.at = f.Created
			case "UPDATED_DESC":
				p.at = f.Updated
			}
			return p
		},
		at: func(p sortPlace) *row.Flow { return &row.Flow{Id: p.id[:], Name: p.name, Created: p.at, Updated: p.at} },
	}, func(id api.ID) (string, error) {
		f, err := view.Flow(id)
		return f.GetName(), err
	})
}

// matchingFlows looks at the flows named by id or name, or at all: there are few.
func (m *matcher) matchingFlows() ([]*row.Flow, error) {
	var ids []api.ID
	named := m.flows != nil && m.flows.id.any != nil
	if named {
		ids = m.flows.id.any.list
	}
	return matching(m, named, ids, m.view.Flow, m.view.EachFlow, m.flow)
}

// matching lists what matches among the objects of ids when named is set, else among all.
func matching[T any](
	m *matcher, named bool, ids []api.ID,
	one func(api.ID) (*T, error), each func(func(*T) (bool, error)) error, match func(*T) (bool, error),
) (list []*T, err error) {
	take := func(r *T) (bool, error) {
		good, err := match(r)
		if good {
			list = append(list, r)
		}
		return true, m.next(err)
	}
	if !named {
		err = each(take)
		return list, err
	}
	for _, id := range ids {
		r, err := one(id)
		if err != nil {
			return nil, err
		}
		if r == nil {
			continue
		}
		if _, err := take(r); err != nil {
			return nil, err
		}
	}
	return list, nil
}

var countFlows = counts(func(m *matcher) (int64, error) {
	flows, err := m.matchingFlows()
	return int64(len(flows)), err
})

// counts is the handler that answers how many objects match a filter.
func counts(count func(*matcher) (int64, error)) handler {
	return func(_ *Server, x *exchange) error {
		q := &query{}
		if err := decode(x, countSpec, q); err != nil {
			return err
		}
		view, err := x.view()
		if err != nil {
			return err
		}
		defer view.Close()
		n, err := count(newMatcher(x, view, q.filters))
		if err != nil {
			return err
		}
		return x.count(n)
	}
}

// count answers a number.
func (x *exchange) count(n int64) error {
	x.out = strconv.AppendInt(x.out, n, 10)
	return x.send(200)
}

func filterDeployments(_ *Server, x *exchange) error {
	q, err := x.query(deploymentsQuerySpec, x.naturalOrder("NAME_ASC"))
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
	var page []*row.Deployment
	if x.byCursor() {
		if page, err = x.deploymentsByCursor(view, q, deployments); err != nil {
			return err
		}
	} else {
		slices.SortFunc(deployments, deploymentsByName)
		page = cut(&q.page, deployments)
	}
	return list(x, page, func(b []byte, d *row.Deployment) ([]byte, error) {
		object, err := x.showDeployment(d)
		if err != nil {
			return b, err
		}
		return object.AppendJSON(b), nil
	})
}

func deploymentsByName(a, b *row.Deployment) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.Id, b.Id))
}

func (x *exchange) deploymentsByCursor(view *state.View, q *query, deployments []*row.Deployment) ([]*row.Deployment, error) {
	if q.sort == "" {
		return pageByCursor(x, listDeployments, &q.page, deployments, func(d *row.Deployment) api.ID { return idOf(d.Id) })
	}
	return sortedPage(x, listDeployments, &q.page, deployments, listOrder[*row.Deployment]{
		compare: deploymentsByName,
		placeOf: func(d *row.Deployment) sortPlace { return sortPlace{id: idOf(d.Id), name: d.Name} },
		at:      func(p sortPlace) *row.Deployment { return &row.Deployment{Id: p.id[:], Name: p.name} },
	}, func(id api.ID) (string, error) {
		d, err := view.Deployment(id)
		return d.GetName(), err
	})
}

func (m *matcher) matchingDeployments() ([]*row.Deployment, error) {
	var ids []api.ID
	named := m.deployments != nil && m.deployments.id.any != nil
	if named {
		ids = m.deployments.id.any.list
	}
	return matching(m, named, ids, m.view.Deployment, m.view.EachDeployment, m.deployment)
}

var countDeployments = counts(func(m *matcher) (int64, error) {
	deployments, err := m.matchingDeployments()
	return int64(len(deployments)), err
})
