import { Link } from '@tanstack/react-router'
import { buttonClass } from '../components/button'

export function Lost() {
  return (
    <main className="mx-auto flex max-w-md flex-col items-start gap-4 px-6 py-24">
      <h1 className="text-2xl font-semibold">There is no such page</h1>
      <p className="text-muted">The address may be of another version, or something is missing at its end.</p>
      <Link to="/" className={buttonClass('primary')}>To the dashboard</Link>
    </main>
  )
}
