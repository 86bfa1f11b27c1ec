import type { Change, ChangeSide } from '@remit/contract/model'
import { counted } from '../../parts/counted.ts'

/** Who gains and who loses, by themselves and through agents. */
export function Effect(props: { readonly canRead: Change; readonly delegated: Change }) {
  const { canRead, delegated } = props
  return (
    <div class="effect">
      <OneSide title="People gain" change={canRead.gained} />
      <OneSide title="People lose" change={canRead.lost} />
      <OneSide title="Agents gain" change={delegated.gained} />
      <OneSide title="Agents lose" change={delegated.lost} />
    </div>
  )
}

function OneSide({ title, change }: { readonly title: string; readonly change: ChangeSide }) {
  const { count, people, documents, samples } = change
  return (
    <section class={count === 0 ? 'soft' : undefined}>
      <h3>{title}</h3>
      <p class="count">
        <strong>{count}</strong> {count === 0 ? '' : `· ${people} of them, ${counted(documents, 'document')}`}
      </p>
      {samples.length > 0 && (
        <ul>
          {samples.map(({ who: asker, document_id: document }) => (
            <li key={`${asker} ${document}`}>
              {asker}: <code>{document}</code>
            </li>
          ))}
        </ul>
      )}
      {samples.length < count && <p class="soft">{count - samples.length} more</p>}
    </section>
  )
}
