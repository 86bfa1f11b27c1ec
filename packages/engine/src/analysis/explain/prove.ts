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
  // In a recursion the server follows a userset of the recursing type whatever relation it names (see evaluate.ts): what is
  // allowed by nothing else is shown by that.
  let asServer = false

  /** `hides`: a contextual tuple hides the stored one of its key; not so inside a recursion (see evaluate.ts). */
  function question(relation: Relation, node: Node, height: number, hides: boolean): Proof | undefined {
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
    const partProofs = prove(relation.rewrite, relation, node, height, hides)
    const meanwhile = cachedProofs.get(key)
    if (partProofs === undefined) {
      cachedProofs.set(key, { ...meanwhile, failed: height })
      return undefined
    }
    // A way that led back to itself has found a lower one: this one would hold it, in a circle.
    if (meanwhile?.found !== undefined && meanwhile.found.height <= height) return meanwhile.found.proof
    const proof: Proof = { kind: 'relation', relation, node, childProofs: partProofs }
    cachedProofs.set(key, { failed: meanwhile?.failed ?? 0, found: { height, proof } })
    return proof
  }

  function prove(
    rule: Rewrite,
    relation: Relation,
    node: Node,
    height: number,
    hides: boolean,
  ): readonly Proof[] | undefined {
    switch (rule.kind) {
      case 'this':
        return asList(assigned(relation, node, height, hides))
      case 'computed':
        return asList(question(rule.relation, node, height - 1, hides))
      case 'ttu':
        return asList(parents(rule, relation, node, height))
      case 'union':
        return firstProof(rule.children, (child) => prove(child, relation, node, height, hides))
      case 'intersection':
        return proveEach(rule.children, (child) => proveOperand(child, relation, node, height, hides))
      case 'exclusion': {
        if (askRule(rule.subtract, relation, node) !== 'no') return undefined
        const base = proveOperand(rule.base, relation, node, height, hides)
        return base && [base, { kind: 'not', rule: rule.subtract, relation, node }]
      }
    }
  }

  /** One side of `and` or `but not`, named by its rule where it is not just a relation. */
  function proveOperand(
    rule: Rewrite,
    relation: Relation,
    node: Node,
    height: number,
    hides: boolean,
  ): Proof | undefined {
    const childProofs = prove(rule, relation, node, height, hides)
    if (childProofs === undefined || rule.kind === 'computed') return childProofs?.[0]
    return { kind: 'rule', rule, relation, parts: childProofs }
  }

  function assigned(relation: Relation, node: Node, height: number, hides: boolean): Proof | undefined {
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

  function parents(rule: Ttu, relation: Relation, node: Node, height: number): Proof | undefined {
    const tupleset = model.types.get(node.type)?.get(rule.tupleset)
    if (tupleset === undefined) return undefined
    const recurses = relation.strategy(user.label).recursion === 'ttu'
    return firstProof(session.concrete(tupleset, node).tuples, (tuple) => {
      const target = rule.targets.get(tuple.user.type)
      return target && step(tuple, target, height, !(recurses && target === relation))
    })
  }

  function step(tuple: Tuple, target: Relation, height: number, hides: boolean): Proof | undefined {
    const nextProof = question(target, tuple.user, height - 1, hides)
    return nextProof && { kind: 'tuple', tuple, next: nextProof }
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
      untilFound((height) => question(relation, node, height, true)),
    rule: (rule: Rewrite, relation: Relation, node: Node): Proof | undefined =>
      untilFound((height) => proveOperand(rule, relation, node, height, true)),
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
