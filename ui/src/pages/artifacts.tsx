import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { artifacts } from '../api/artifacts'
import { ArtifactView } from '../components/artifact-view'
import { Button, buttonClass } from '../components/button'
import { Empty, Loaded } from '../components/feedback'
import { Input } from '../components/field'
import { Card, Page } from '../components/page'

const perPage = 20

/** Artifacts are what runs have shown, the newest first; those of one key are versions of one thing. */
export function Artifacts() {
  const { q = '', page = 1 } = useSearch({ from: '/shell/artifacts' })
  const navigate = useNavigate()
  const query = useQuery(artifacts(q, (page - 1) * perPage, perPage + 1))
  const go = (change: { q?: string; page?: number }) => void navigate({ to: '/artifacts', search: { q: q || undefined, page, ...change }, replace: true })
  return (
    <Page title="Artifacts">
      <div className="flex flex-col gap-4">
        <form onSubmit={(e) => { e.preventDefault(); go({ q: new FormData(e.currentTarget).get('key')?.toString().trim() || undefined, page: undefined }) }} className="flex gap-2">
          <Input key={q} data-search type="search" name="key" aria-label="Key" placeholder="A key, like orders-by-region" defaultValue={q} className="max-w-80" />
          <Button type="submit">Show its versions</Button>
          {q && <Link to="/artifacts" className={buttonClass('quiet')}>All</Link>}
        </form>
        <Loaded query={query}>
          {(all) => all.length === 0 ? (
            <Card flush><Empty title={q ? `No artifact has the key “${q}”` : 'No artifacts yet'} command="sluice artifact create report --run tan-lion --data '# 3 pages'">Flows show people what they made: a table, a text in Markdown, a link. In Python with <code>sluice.artifacts</code>, in Go with <code>flow.Artifact</code>, or by a command:</Empty></Card>
          ) : (
            <>
              {all.slice(0, perPage).map((a, i) => (
                <ArtifactView key={a.id} of={a} open={q !== '' && i === 0 && page === 1} more={<Link to="/runs/$id" params={{ id: a.flowRunId }} search={{ tab: 'artifacts' }} className="text-accent hover:underline">its run</Link>} />
              ))}
              {(page > 1 || all.length > perPage) && (
                <nav aria-label="Pages" className="flex justify-end gap-2">
                  <Button small disabled={page <= 1} onClick={() => go({ page: page > 2 ? page - 1 : undefined })}>Newer</Button>
                  <Button small disabled={all.length <= perPage} onClick={() => go({ page: page + 1 })}>Older</Button>
                </nav>
              )}
            </>
          )}
        </Loaded>
      </div>
    </Page>
  )
}
