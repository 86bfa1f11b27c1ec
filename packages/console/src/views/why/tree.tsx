import type { Reason } from '@remit/contract/explain'
import type { ComponentChildren } from 'preact'
import { Time } from '../../parts/time.tsx'
import './tree.css'

const marks = {
  yes: { sign: '✓', word: 'holds' },
  no: { sign: '✕', word: 'does not hold' },
  cycle: { sign: '↻', word: 'goes round in a circle' },
  error: { sign: '!', word: 'could not be evaluated' },
}

/**
 * Why, as nested lists that can be folded, which every keyboard and screen reader knows; the lines between them are
 * drawn. A step that holds and one that does not differ by sign and by word, not by colour alone.
 */
export const ReasonTree = ({ reason }: { readonly reason: Reason }) => (
  <ul class="tree" aria-label="Why, step by step">
    <Step reason={reason} />
  </ul>
)

function Step({ reason }: { readonly reason: Reason }) {
  const { holds, because } = reason
  const mark = marks[holds]
  const verdictText = (
    <>
      <span class={`mark-of ${holds}`} aria-hidden="true">
        {mark.sign}
      </span>
      <span>
        <span class="unseen">{mark.word}: </span>
        {wordsOf(reason)}
      </span>
    </>
  )
  if (because.length === 0)
    return (
      <li>
        <div class="step">{verdictText}</div>
      </li>
    )
  return (
    <li>
      <details open>
        <summary class="step">{verdictText}</summary>
        <ul>
          {because.map((inner, index) => (
            // The tree of one answer never changes.
            // biome-ignore lint/suspicious/noArrayIndexKey: steps have no other name
            <Step reason={inner} key={index} />
          ))}
        </ul>
      </details>
    </li>
  )
}

function wordsOf(reason: Reason): ComponentChildren {
  const { kind, tuple, users = [], relation, object } = reason
  if (kind === 'tuple' && tuple !== undefined)
    return (
      <>
        <TupleLine {...tuple} /> <About reason={reason} />
      </>
    )
  if (kind === 'missing' && users.length > 0)
    return (
      <>
        no tuple: <TupleLine user={users.join(' or ')} relation={relation ?? ''} object={object ?? ''} />
      </>
    )
  return saidOf(reason)
}

/** What stands at a step that is no tuple. */
function saidOf({ kind, holds, relation = '', object = '', rule = '', count = 0 }: Reason): string {
  switch (kind) {
    case 'not':
      return holds === 'yes' ? `not excluded by: ${rule}` : `excluded by: ${rule}`
    case 'rule':
      return rule
    case 'self':
      return 'it is the subject itself'
    case 'cycle':
      return `${relation} of ${object}: goes round in a circle`
    case 'depth':
      return `${relation} of ${object}: too deep, not looked at`
    case 'seen':
      return `${relation} of ${object}: as shown elsewhere`
    case 'missing':
      return `${relation} of ${object}: the model knows no way to it`
    case 'cut':
      return `${count} more`
    default:
      return `${relation} of ${object}`
  }
}

/** One tuple on a line. */
const TupleLine = (tuple: { readonly user: string; readonly relation: string; readonly object: string }) => (
  <code class="tuple">
    {tuple.user} <b>{tuple.relation}</b> {tuple.object}
  </code>
)

function About({ reason: { source, written_at: written, condition } }: { readonly reason: Reason }) {
  return (
    <span class="soft">
      {source === 'request'
        ? 'comes with the request'
        : written !== undefined && (
            <>
              written <Time time={written} />
            </>
          )}
      {condition?.until !== undefined && (
        <span class={condition.holds === 'yes' ? undefined : 'bad'}>
          , {condition.holds === 'yes' ? 'until' : 'ended'} <Time time={condition.until} />
        </span>
      )}
      {condition?.error !== undefined && <span class="bad">, {condition.error}</span>}
    </span>
  )
}
