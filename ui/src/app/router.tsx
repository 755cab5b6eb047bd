import { createRootRoute, createRoute, createRouter, lazyRouteComponent, Outlet, parseSearchWith, redirect, stringifySearchWith } from '@tanstack/react-router'
import { parseJSON, printJSON } from '../core/json'
import { Shell } from './shell'
import { Lost } from './lost'

// Search parameters are texts; what is not understood is as if it were not there.
const text = (v: unknown) => (typeof v === 'string' && v !== '' ? v : typeof v === 'number' ? String(v) : undefined)
const page = (v: unknown) => (typeof v === 'number' && Number.isInteger(v) && v > 1 ? v : undefined)

export interface RunsSearch { q?: string; page?: number; tab?: 'upcoming' }
export interface SpanSearch { from?: number; to?: number; range?: string; q?: string }
export interface RunSearch { tab?: string; task?: string; level?: number; find?: string; line?: string }
export interface ListSearch { q?: string; new?: boolean; tab?: string }
export interface CustomSearch { params?: string; name?: string; tags?: string }

const list = (s: Record<string, unknown>): ListSearch => ({ q: text(s.q), new: s.new === true || undefined, tab: text(s.tab) })
const moment = (v: unknown) => (typeof v === 'number' && v > 0 ? v : undefined)

const root = createRootRoute({ component: Outlet, notFoundComponent: Lost })
const shell = createRoute({ getParentRoute: () => root, id: 'shell', component: Shell })

const signIn = createRoute({
  getParentRoute: () => root, path: '/sign-in', component: lazyRouteComponent(() => import('../pages/sign-in'), 'SignIn'),
  validateSearch: (s: Record<string, unknown>): { back?: string } => ({ back: text(s.back)?.startsWith('/') && !text(s.back)!.startsWith('//') ? text(s.back) : undefined }),
})
const dashboard = createRoute({
  getParentRoute: () => shell, path: '/', component: lazyRouteComponent(() => import('../pages/dashboard'), 'Dashboard'),
  validateSearch: (s: Record<string, unknown>): SpanSearch => ({ from: moment(s.from), to: moment(s.to), range: text(s.range), q: text(s.q) }),
})
const runs = createRoute({
  getParentRoute: () => shell, path: '/runs', component: lazyRouteComponent(() => import('../pages/runs'), 'Runs'),
  validateSearch: (s: Record<string, unknown>): RunsSearch => ({ q: text(s.q), page: page(s.page), tab: s.tab === 'upcoming' ? 'upcoming' : undefined }),
})
const run = createRoute({
  getParentRoute: () => shell, path: '/runs/$id', component: lazyRouteComponent(() => import('../pages/run'), 'Run'),
  validateSearch: (s: Record<string, unknown>): RunSearch => ({ tab: text(s.tab), task: text(s.task), level: typeof s.level === 'number' ? s.level : undefined, find: text(s.find), line: text(s.line) }),
})
const task = createRoute({ getParentRoute: () => shell, path: '/runs/$id/tasks/$taskId', component: lazyRouteComponent(() => import('../pages/task-run'), 'TaskRunPage') })
const flows = createRoute({ getParentRoute: () => shell, path: '/flows', component: lazyRouteComponent(() => import('../pages/flows'), 'Flows'), validateSearch: list })
const flow = createRoute({ getParentRoute: () => shell, path: '/flows/$id', component: lazyRouteComponent(() => import('../pages/flow'), 'FlowPage'), validateSearch: list })
const deployments = createRoute({ getParentRoute: () => shell, path: '/deployments', component: lazyRouteComponent(() => import('../pages/deployments'), 'Deployments'), validateSearch: list })
const deployment = createRoute({ getParentRoute: () => shell, path: '/deployments/$id', component: lazyRouteComponent(() => import('../pages/deployment'), 'DeploymentPage'), validateSearch: list })
const custom = createRoute({
  getParentRoute: () => shell, path: '/deployments/$id/run', component: lazyRouteComponent(() => import('../pages/custom-run'), 'CustomRun'),
  validateSearch: (s: Record<string, unknown>): CustomSearch => ({ params: typeof s.params === 'object' && s.params ? printJSON(s.params, 0) : text(s.params), name: text(s.name), tags: text(s.tags) }),
})
const queues = createRoute({ getParentRoute: () => shell, path: '/queues', component: lazyRouteComponent(() => import('../pages/queues'), 'Queues'), validateSearch: list })
const queue = createRoute({ getParentRoute: () => shell, path: '/queues/$id', component: lazyRouteComponent(() => import('../pages/queue'), 'QueuePage'), validateSearch: list })
const agents = createRoute({ getParentRoute: () => shell, path: '/agents', component: lazyRouteComponent(() => import('../pages/agents'), 'Agents'), validateSearch: list })
const limits = createRoute({ getParentRoute: () => shell, path: '/limits', component: lazyRouteComponent(() => import('../pages/limits'), 'Limits'), validateSearch: list })
const storage = createRoute({ getParentRoute: () => shell, path: '/storage', component: lazyRouteComponent(() => import('../pages/storage'), 'Storage'), validateSearch: list })
const artifacts = createRoute({
  getParentRoute: () => shell, path: '/artifacts', component: lazyRouteComponent(() => import('../pages/artifacts'), 'Artifacts'),
  validateSearch: (s: Record<string, unknown>): { q?: string; page?: number } => ({ q: text(s.q), page: page(s.page) }),
})
const webhooks = createRoute({ getParentRoute: () => shell, path: '/webhooks', component: lazyRouteComponent(() => import('../pages/webhooks'), 'Webhooks'), validateSearch: list })
const webhook = createRoute({ getParentRoute: () => shell, path: '/webhooks/$id', component: lazyRouteComponent(() => import('../pages/webhook'), 'WebhookPage'), validateSearch: list })
const cluster = createRoute({ getParentRoute: () => shell, path: '/cluster', component: lazyRouteComponent(() => import('../pages/cluster'), 'ClusterPage') })
const jobs = createRoute({ getParentRoute: () => shell, path: '/jobs', component: lazyRouteComponent(() => import('../pages/jobs'), 'Jobs') })
const access = createRoute({ getParentRoute: () => shell, path: '/access', component: lazyRouteComponent(() => import('../pages/access'), 'Access'), validateSearch: list })
const settings = createRoute({ getParentRoute: () => shell, path: '/settings', component: lazyRouteComponent(() => import('../pages/settings'), 'SettingsPage') })
const gallery = createRoute({ getParentRoute: () => shell, path: '/gallery', component: lazyRouteComponent(() => import('../pages/gallery'), 'Gallery') })

// Addresses of Orion's interface, which its command line prints.
const oldRun = createRoute({ getParentRoute: () => root, path: '/flow-run/$id', beforeLoad: ({ params }) => { throw redirect({ to: '/runs/$id', params }) } })
const oldQueues = createRoute({ getParentRoute: () => root, path: '/work-queues', beforeLoad: () => { throw redirect({ to: '/queues' }) } })

export const router = createRouter({
  routeTree: root.addChildren([
    signIn, oldRun, oldQueues,
    shell.addChildren([dashboard, runs, run, task, flows, flow, deployments, deployment, custom, queues, queue, agents, limits, storage, artifacts, webhooks, webhook, cluster, jobs, access, settings, gallery]),
  ]),
  basepath: new URL(document.baseURI).pathname.replace(/\/$/, '') || '/',
  parseSearch: parseSearchWith(parseJSON),
  stringifySearch: stringifySearchWith((v) => printJSON(v, 0), parseJSON),
  defaultPreload: 'intent',
  scrollRestoration: true,
})

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}
