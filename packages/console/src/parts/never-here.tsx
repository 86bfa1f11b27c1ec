import type { NotHere } from '@remit/contract/explain'
import { Link, useRoute, withQuery } from '../router.tsx'

const kinds: Readonly<Record<string, string>> = { user: 'person' }

/** Said apart from "nobody" and "nothing", which a mistyped id would else look like. */
export const NeverHere = ({
  of: { never_here = [], did_you_mean = {} },
}: {
  readonly of: Partial<NotHere>
}) =>
  never_here.length === 0 ? null : (
    <div class="problem" role="alert">
      {never_here.map((id) => {
        const [type, bare] = halves(id)
        const similar = did_you_mean[id] ?? []
        return (
          <p key={id}>
            No {kinds[type] ?? type} with the id <code>{bare}</code> was ever here.{' '}
            {similar.length === 0 ? 'Check the spelling.' : <Others id={id} similarIds={similar} />}
          </p>
        )
      })}
    </div>
  )

/** The same question about each of them. */
function Others({ id, similarIds }: { readonly id: string; readonly similarIds: readonly string[] }) {
  const { path, query } = useRoute()
  return (
    <>
      Did you mean{' '}
      {similarIds.map((similarId, index) => {
        const instead = (value: string): string =>
          value === id ? similarId : value === halves(id)[1] ? halves(similarId)[1] : value
        const correctedPath = path
          .split('/')
          .map((segment) => encodeURIComponent(instead(decodeURIComponent(segment))))
        const correctedQuery = Object.fromEntries([...query].map(([name, value]) => [name, instead(value)]))
        return (
          <>
            {index > 0 && ' or '}
            <Link key={similarId} to={withQuery(correctedPath.join('/'), correctedQuery)}>
              {halves(similarId)[1]}
            </Link>
          </>
        )
      })}
      ?
    </>
  )
}

function halves(id: string): readonly [type: string, bare: string] {
  const [type = '', bare = ''] = id.split(/:(.*)/s)
  return [type, bare]
}
