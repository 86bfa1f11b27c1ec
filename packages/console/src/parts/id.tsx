import { agentPath, recordPath } from '../paths.ts'
import { Link } from '../router.tsx'
import { useConsole } from '../use-answer.ts'

/** Who or what something names, leading on to what is on record of it. A name beside the id, never in its place. */
export function Id({ id, name }: { readonly id: string; readonly name?: string | undefined }) {
  const { leadsTo } = useConsole()
  const to = placeOf(id, leadsTo('/agents'))
  return (
    <>
      {to === undefined || !leadsTo('/record') ? (
        <code>{id}</code>
      ) : (
        <Link to={to}>
          <code>{id}</code>
        </Link>
      )}
      {name !== undefined && name !== id && <span class="soft"> {name}</span>}
    </>
  )
}

function placeOf(id: string, hasAgents: boolean): string | undefined {
  const [type = '', rest] = id.split(/:(.*)/s)
  if (rest === undefined || rest === '') return undefined
  switch (type) {
    case 'user':
    case 'service':
      return recordPath({ subject: id })
    case 'agent':
      return hasAgents ? agentPath(rest) : recordPath({ actor: id })
    default:
      return recordPath({ object: id })
  }
}
