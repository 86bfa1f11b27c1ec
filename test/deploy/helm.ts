import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { native } from '../support/native.ts'

/** What Helm makes of a chart's values: test/deploy/helm/main.go. */
interface Outcome {
  readonly manifests: readonly Manifest[]
  /** Why it renders nothing. */
  readonly refused?: string
  /** What Kubernetes would not take. */
  readonly invalid: readonly string[]
}

/** A manifest, as far as tests look into it. */
export interface Manifest {
  readonly kind: string
  readonly metadata: { readonly name: string }
  // biome-ignore lint/suspicious/noExplicitAny: the schemas of Kubernetes hold it to its form.
  readonly spec: any
}

export type Values = Readonly<Record<string, unknown>>

/** One outcome for each of the values. */
export function rendered(all: readonly Values[]): readonly Outcome[] {
  const chart = fileURLToPath(new URL('../../deploy/helm/remit', import.meta.url))
  const output = execFileSync(`${native.helm}/helm`, [chart, `${native.helm}/schemas`], {
    input: JSON.stringify(all),
    maxBuffer: 64 * 1024 * 1024,
  })
  return JSON.parse(output.toString()) as readonly Outcome[]
}
