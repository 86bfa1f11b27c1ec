import type { Evaluator } from '../../core/evaluate.ts'
import type { Relation, Rewrite, Ttu } from '../../core/model.ts'
import type { Session } from '../../core/session.ts'
import type { Node, Tuple } from '../../core/tuples.ts'

/** Why a yes is a yes. Parts may be shared between proofs: this is a graph without circles. */
export type Proof =
  | {
      readonly kind: 'relation'
      readonly relation: Relation
      readonly node: Node
      readonly childProofs: readonly Proof[]
    }
  | {
      readonly kind: 'rule'
      readonly rule: Rewrite
      readonly relation: Relation
      readonly parts: readonly Proof[]
    }
  | { readonly kind: 'tuple'; readonly tuple: Tuple; readonly next: Proof | undefined }
  | { readonly kind: 'not'; readonly rule: Rewrite; readonly relation: Relation; readonly node: Node }
  | { readonly kind: 'self' }

/** Finds proofs in one session. */
export type Prover = ReturnType<typeof createProver>

/** More rules on top of each other than any check can pass within its depth limit. */
const heightMax = 200

/** What is to be proven, by a proof of at most this height. */
interface Goal {
  readonly relation: Relation
  readonly node: Node
  readonly height: number
  /** A contextual tuple hides the stored one of its key; not so inside a recursion (see evaluate.ts). */
  readonly hides: boolean
}

interface Known {
  /** Up to which there is no proof. */
  readonly failed: number
  /** The lowest proof found, of this height. */
  readonly found?: { readonly height: number; readonly proof: Proof }
}

/**
 * Finds the lowest proof of a question that was answered with yes, and of those the first in the order of the
 * rules and tuples: allowed heights grow one by one, so that no circle can hold it. Undefined: there is none.
 */
export function createProver(session: Session, { ask, askRule }: Evaluator) {
  const { model, user } = session
  const cachedProofs = new Map<string, Known>()
  // In a recursion the server follows a userset of the recursing type whatever relation it names (see
  // evaluate.ts): what is allowed by nothing else is shown by that.
  let asServer = false

  function question(goal: Goal): Proof | undefined {
    const { relation, node, height, hides } = goal
    if (user.relation === relation.name && user.node === node) return { kind: 'self' }
    if (height === 0 || !relation.strategy(user.label).reachable) return undefined
    const key = `${node.id} ${relation.index} ${hides}`
    const cached = cachedProofs.get(key)
    if (cached?.found !== undefined && cached.found.height <= height) return cached.found.proof
    if (cached !== undefined && cached.failed >= height) return undefined
    if (hides && cached === undefined && ask(relation, node) !== 'yes') {
      cachedProofs.set(key, { failed: Infinity })
      return undefined
    }
    const childProofs = prove(relation.rewrite, goal)
    const meanwhile = cachedProofs.get(key)
    if (childProofs === undefined) {
      cachedProofs.set(key, { ...meanwhile, failed: height })
      return undefined
    }
    // A way that led back to itself has found a lower one: this one would hold it, in a circle.
    if (meanwhile?.found !== undefined && meanwhile.found.height <= height) return meanwhile.found.proof
    const proof: Proof = { kind: 'relation', relation, node, childProofs }
    cachedProofs.set(key, { failed: meanwhile?.failed ?? 0, found: { height, proof } })
    return proof
  }

  function prove(rule: Rewrite, goal: Goal): readonly Proof[] | undefined {
    const { relation, node, height } = goal
    switch (rule.kind) {
      case 'this':
        return asList(assigned(goal))
      case 'computed':
        return asList(question({ ...goal, relation: rule.relation, height: height - 1 }))
      case 'ttu':
        return asList(parents(rule, goal))
      case 'union':
        return firstProof(rule.children, (child) => prove(child, goal))
      case 'intersection':
        return proveEach(rule.children, (child) => proveOperand(child, goal))
      case 'exclusion': {
        if (askRule(rule.subtract, relation, node) !== 'no') return undefined
        const base = proveOperand(rule.base, goal)
        return base && [base, { kind: 'not', rule: rule.subtract, relation, node }]
      }
    }
  }

  /** One side of `and` or `but not`, named by its rule where it is not just a relation. */
  function proveOperand(rule: Rewrite, goal: Goal): Proof | undefined {
    const parts = prove(rule, goal)
    if (parts === undefined || rule.kind === 'computed') return parts?.[0]
    return { kind: 'rule', rule, relation: goal.relation, parts }
  }

  function assigned({ relation, node, height, hides }: Goal): Proof | undefined {
    const near = subjectTuple(relation, node, hides)
    if (near !== undefined) return { kind: 'tuple', tuple: near, next: undefined }
    const recurses = relation.strategy(user.label).recursion === 'userset'
    return firstProof(
      session.usersets(relation, node, ({ userRelation }) => userRelation !== '').tuples,
      (tuple) => {
        const target = model.types.get(tuple.user.type)?.get(tuple.userRelation)
        const proof = target && step(tuple, target, height, !(recurses && target === relation))
        if (proof !== undefined || !asServer || !recurses || tuple.user.type !== relation.type) return proof
        return step(tuple, relation, height, false)
      },
    )
  }

  function subjectTuple(relation: Relation, node: Node, hides: boolean): Tuple | undefined {
    const ownTuples = user.node.wildcard ? [] : session.ownTuples(relation, node, hides)
    const found = ownTuples.find((tuple) => session.isValid(relation, tuple) && session.holds(tuple) === true)
    if (found !== undefined || user.relation !== '') return found
    return session.usersets(
      relation,
      node,
      (tuple) => tuple.user.wildcard && tuple.user.type === user.node.type,
    ).tuples[0]
  }

  function parents(rule: Ttu, { relation, node, height }: Goal): Proof | undefined {
    const tupleset = model.types.get(node.type)?.get(rule.tupleset)
    if (tupleset === undefined) return undefined
    const recurses = relation.strategy(user.label).recursion === 'ttu'
    return firstProof(session.concrete(tupleset, node).tuples, (tuple) => {
      const target = rule.targets.get(tuple.user.type)
      return target && step(tuple, target, height, !(recurses && target === relation))
    })
  }

  function step(tuple: Tuple, relation: Relation, height: number, hides: boolean): Proof | undefined {
    const next = question({ relation, node: tuple.user, height: height - 1, hides })
    return next && { kind: 'tuple', tuple, next }
  }

  function untilFound(ask: (height: number) => Proof | undefined): Proof | undefined {
    for (const follows of [false, true]) {
      if (follows !== asServer) cachedProofs.clear()
      asServer = follows
      for (let height = 1; height <= heightMax; height++) {
        const proof = ask(height)
        if (proof !== undefined) return proof
      }
    }
    return undefined
  }

  return {
    question: (relation: Relation, node: Node): Proof | undefined =>
      untilFound((height) => question({ relation, node, height, hides: true })),
    rule: (rule: Rewrite, relation: Relation, node: Node): Proof | undefined =>
      untilFound((height) => proveOperand(rule, { relation, node, height, hides: true })),
  }
}

const asList = (proof: Proof | undefined): readonly Proof[] | undefined => proof && [proof]

function firstProof<T, R>(candidates: readonly T[], prove: (candidate: T) => R | undefined): R | undefined {
  for (const candidate of candidates) {
    const found = prove(candidate)
    if (found !== undefined) return found
  }
  return undefined
}

function proveEach(
  rules: readonly Rewrite[],
  prove: (rule: Rewrite) => Proof | undefined,
): readonly Proof[] | undefined {
  const proofs: Proof[] = []
  for (const rule of rules) {
    const proof = prove(rule)
    if (proof === undefined) return undefined
    proofs.push(proof)
  }
  return proofs
}
