import { readFileSync } from 'node:fs'
import { parser } from '@prometheus-io/lezer-promql'
import { parse } from 'yaml'

const root = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8')

/** A rule of deploy/prometheus/remit.rules.yml: either a record or an alert. */
export interface Rule {
  readonly record?: string
  readonly alert?: string
  readonly expr: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}

/** Every rule, in order. */
export const rules: readonly Rule[] = (
  parse(read('deploy/prometheus/remit.rules.yml')) as { groups: { rules: Rule[] }[] }
).groups.flatMap((group) => group.rules)

/** A panel of deploy/grafana/remit.json with its queries. */
export interface Panel {
  readonly title: string
  readonly type: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly datasource?: { readonly type: string; readonly uid: string }
  readonly targets?: readonly { readonly expr: string }[]
}

/** Every panel, rows included. */
export const panels = (): readonly Panel[] =>
  (JSON.parse(read('deploy/grafana/remit.json')) as { panels: Panel[] }).panels

/** What a query reads. */
export interface Selection {
  readonly metric: string
  /** Label matchers of `=` and `=~`, those that name something. */
  readonly labels: readonly {
    readonly name: string
    readonly matches: (value: string) => boolean
    readonly text: string
  }[]
  /** The functions and aggregations around it, from the inside out. */
  readonly inside: readonly string[]
}

const isOperator = /^(sum|avg|min|max|count|topk|bottomk|group|stddev|stdvar|quantile)$/

/** Parses as Grafana and Prometheus do; throws where it is no PromQL. */
export function selectionsOf(query: string): readonly Selection[] {
  const text = query.replaceAll('$__rate_interval', '5m').replaceAll('$__range', '1h')
  const found: Selection[] = []
  const around: (string | undefined)[] = []
  const part = (node: { from: number; to: number }) => text.slice(node.from, node.to)
  parser.parse(text).iterate({
    enter(node) {
      if (node.type.isError) throw new Error(`No PromQL at ${node.from}: ${query}`)
      if (node.name === 'FunctionCall' || node.name === 'AggregateExpr')
        around.push(part(node.node.firstChild ?? node))
      else around.push(undefined)
      if (node.name !== 'VectorSelector') return
      const identifier = node.node.getChild('Identifier')
      const matchers = node.node.getChild('LabelMatchers')?.getChildren('UnquotedLabelMatcher') ?? []
      found.push({
        metric: identifier === null ? '' : part(identifier),
        labels: matchers.flatMap((matcher) => {
          const [name, op, value] = ['LabelName', 'MatchOp', 'StringLiteral'].map((kind) => {
            const child = matcher.getChild(kind)
            return child === null ? '' : part(child)
          })
          const wanted = JSON.parse(value ?? '""') as string
          if (op === '=')
            return [{ name: name ?? '', matches: (one: string) => one === wanted, text: part(matcher) }]
          const pattern = new RegExp(`^(?:${wanted})$`)
          return op === '=~'
            ? [{ name: name ?? '', matches: (one: string) => pattern.test(one), text: part(matcher) }]
            : []
        }),
        inside: around.filter((one) => one !== undefined).reverse(),
      })
    },
    leave() {
      around.pop()
    },
  })
  return found
}

/** The functions of these that change what a sample means; aggregations keep it. */
export const functionsOf = ({ inside }: Selection): readonly string[] =>
  inside.filter((name) => !isOperator.test(name))
