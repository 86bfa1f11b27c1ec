import type { AuditDelegation, AuditDelegationPage } from '@remit/contract/audit'
import type { RefObject } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { agentId } from '../../parts/form.tsx'
import { useAnswer } from '../../use-answer.ts'
import { standingOf, withFilter } from './delegations.tsx'

const waitMs = 300

interface Pair {
  readonly subject: string
  readonly agent: string
}

/**
 * Delegations of the person and the agent that stand in the same form, to pick from. They are asked for,
 * which is on record, once both have been written.
 */
export function DelegationField(props: { readonly chosen: string | undefined; readonly hint: string }) {
  const { chosen, hint } = props
  const ref = useRef<HTMLSelectElement>(null)
  const pair = usePair(ref)
  const answer = useAnswer(pair === undefined ? null : JSON.stringify(pair), (api, signal) =>
    api.get<AuditDelegationPage>(withFilter({ ...pair, limit: '50' }), signal),
  )
  const found = pair !== undefined && answer.state === 'there' ? answer.value.delegations : []
  const usable = found.filter(({ resource }) => resource === undefined)
  const isOther = chosen !== undefined && !usable.some(({ delegation }) => delegation === chosen)
  return (
    // Its options are no part of its label.
    <div class="field">
      <label for="delegation">
        Delegation <small class="soft">{hint}</small>
      </label>
      <select ref={ref} id="delegation" name="delegation">
        <option value="">{saidOf(pair, answer.state, usable.length)}</option>
        {isOther && (
          <option value={chosen} selected>
            {chosen}
          </option>
        )}
        {usable.map((delegation) => (
          <option
            key={delegation.delegation}
            value={delegation.delegation}
            selected={delegation.delegation === chosen}
          >
            {titleOf(delegation)}
          </option>
        ))}
      </select>
    </div>
  )
}

/** Whom the form around the field names, once both are written. */
function usePair(ref: RefObject<HTMLSelectElement | null>): Pair | undefined {
  const [pair, setPair] = useState<Pair>()
  useEffect(() => {
    const form = ref.current?.form
    if (form === null || form === undefined) return undefined
    let timer: ReturnType<typeof setTimeout> | undefined
    const read = (): void => {
      const fields = new FormData(form)
      const subject = String(fields.get('user') ?? '').trim()
      const agent = agentId(String(fields.get('agent') ?? '').trim())
      setPair(
        /^user:[^*#]+$/.test(subject) && agent !== '' ? { subject, agent: `agent:${agent}` } : undefined,
      )
    }
    const later = ({ target }: Event): void => {
      if (target === ref.current) return
      clearTimeout(timer)
      timer = setTimeout(read, waitMs)
    }
    form.addEventListener('input', later)
    ref.current?.addEventListener('focus', read)
    return () => {
      clearTimeout(timer)
      form.removeEventListener('input', later)
      ref.current?.removeEventListener('focus', read)
    }
  }, [])
  return pair
}

function saidOf(pair: Pair | undefined, state: string, count: number): string {
  if (pair === undefined) return 'name the person and the agent first'
  if (state === 'asking') return 'asking …'
  if (state === 'failed') return 'could not be asked for'
  return count === 0 ? 'nothing was lent' : `choose one of ${count}`
}

const titleOf = (entry: AuditDelegation): string => {
  const { delegation, scope, expires_at: expiresAt, revoked_at: revoked } = entry
  const scopeSuffix = scope.length > 1 ? ` and ${scope.length - 1} more` : ''
  const endTime = (revoked ?? expiresAt).slice(0, 16).replace('T', ' ')
  return `${standingOf(entry)}, ${scope[0] ?? 'nothing'}${scopeSuffix}, until ${endTime} · ${delegation}`
}
