import { check, listCandidates, type Model, overApproximate, type TupleView } from '@remit/engine'
import { splitObject } from '../../kernel/ids.ts'
import { type Asker, ownAsker } from '../compare/askers.ts'
import { isOwnImplied } from '../model/invariants.ts'

/** What somebody could have: supersets, with exclusions left out and conditions taken as met. */
export interface Could {
  /** Ids of documents under any of the models; all others are denied for certain. */
  read(asker: Asker): ReadonlySet<string>
  /** Under the first model. */
  have(asker: Asker, question: { readonly relation: string; readonly object: string }): boolean
}

/** Says by an over-approximation which documents somebody could reach under any of the models. */
export function createCould(models: readonly Model[], tuples: TupleView): Could {
  const relaxed = models.map(overApproximate)
  const isOwn = models.every(isOwnImplied)
  let lastAnswer: { readonly name: string; readonly documents: ReadonlySet<string> } | undefined

  function list({ user, relation, contextual }: Pick<Asker, 'user' | 'relation' | 'contextual'>) {
    return new Set(
      relaxed.flatMap((model) => {
        const target = model.types.get('document')?.get(relation)
        if (target === undefined) return []
        const objects = listCandidates(model, tuples, target, { user, contextualTuples: contextual })
        return objects.map((name) => splitObject(name).id)
      }),
    )
  }

  return {
    read(asker) {
      // What is lent may be all that there is; what its person could read is less, and enough by the model.
      const { user, relation, contextual } = isOwn ? ownAsker(asker.user) : asker
      const name = JSON.stringify([user, relation, contextual])
      // A person's agents come one after the other.
      if (lastAnswer?.name !== name) lastAnswer = { name, documents: list({ user, relation, contextual }) }
      return lastAnswer.documents
    },
    have({ user, contextual }, { relation, object }) {
      const [model] = relaxed
      try {
        return (
          model === undefined ||
          check(model, tuples, { user, relation, object, contextualTuples: contextual })
        )
      } catch {
        // Too deep to say.
        return true
      }
    },
  }
}
