import type { NotHere as Answered } from '@remit/contract/explain'
import { Link, usePlace, withQuery } from '../router.tsx'

const kinds: Readonly<Record<string, string>> = { user: 'person' }

/** `did_you_mean`: not of an older service. */
export type NotHere = Pick<Answered, 'never_here'> & Partial<Answered>

/** Said apart from "nobody" and "nothing", which a mistyped id would else look like. */
export const NeverHere = ({ of: { never_here, did_you_mean } }: { readonly of: NotHere }) =>
  never_here.length === 0 ? null : (
    <div class="problem" role="alert">
      {never_here.map((id) => {
        const [type, bare] = halves(id)
        const others = did_you_mean?.[id] ?? []
        return (
          <p key={id}>
            No {kinds[type] ?? type} with the id <code>{bare}</code> was ever here.{' '}
            {others.length === 0 ? 'Check the spelling.' : <Others id={id} others={others} />}
          </p>
        )
      })}
    </div>
  )

/** The same question about each of them. */
function Others({ id, others }: { readonly id: string; readonly others: readonly string[] }) {
  const { path, query } = usePlace()
  return (
    <>
      Did you mean{' '}
      {others.map((other, index) => {
        const instead = (value: string): string =>
          value === id ? other : value === halves(id)[1] ? halves(other)[1] : value
        const there = path.split('/').map((part) => encodeURIComponent(instead(decodeURIComponent(part))))
        const asked = Object.fromEntries([...query].map(([name, value]) => [name, instead(value)]))
        return (
          <>
            {index > 0 && ' or '}
            <Link key={other} to={withQuery(there.join('/'), asked)}>
              {halves(other)[1]}
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
