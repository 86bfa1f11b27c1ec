import { Counter, Histogram, type Registry } from 'prom-client'
import type { OnStrategy } from '../retrieval/chunk-index/postgres/strategy.ts'
import type { OnAnswer } from '../retrieval/question.ts'
import type { ShadowEvent } from '../retrieval/shadow.ts'

export interface SearchMetrics {
  readonly onStrategy: OnStrategy
  readonly onAnswer: OnAnswer
  readonly onShadow: (event: ShadowEvent) => void
}

/** What searching and asking OpenFGA cost, and what it brought. See docs/metrics.md. */
export function observeSearch(registry: Registry): SearchMetrics {
  const registers = [registry]
  const strategySeconds = new Histogram({
    name: 'remit_search_strategy_seconds',
    help: 'Seconds of one search by vectors, by its strategy.',
    labelNames: ['strategy'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
    registers,
  })
  const strategyRatio = new Histogram({
    name: 'remit_search_strategy_actual_to_predicted',
    help: 'What a search by vectors took, as a part of what had been predicted.',
    labelNames: ['strategy'],
    buckets: [0.25, 0.5, 0.75, 1, 1.5, 2, 4, 8],
    registers,
  })
  const fallbacks = new Counter({
    name: 'remit_search_strategy_fallbacks_total',
    help: 'Searches for which a cheaper strategy was tried first and found too little.',
    registers,
  })
  const documents = new Counter({
    name: 'remit_gate_documents_total',
    help: 'Documents that questions nominated, by what became of them. allowed / all is the precision of nomination.',
    labelNames: ['verdict'],
    registers,
  })
  const checks = new Counter({
    name: 'remit_gate_checks_total',
    help: 'Checks that questions sent to OpenFGA.',
    registers,
  })
  const returned = new Counter({
    name: 'remit_answer_documents_total',
    help: 'Documents in answers. remit_gate_checks_total / this: checks for each that was returned.',
    registers,
  })
  const calls = new Histogram({
    name: 'remit_gate_calls',
    help: 'Calls to OpenFGA for one answer: none where its verdicts were held, one in the usual case.',
    buckets: [0, 1, 2, 3, 5, 8],
    registers,
  })
  const recall = new Histogram({
    name: 'remit_shadow_recall',
    help: 'Recall at 10 of searches that were done again exactly.',
    labelNames: ['strategy'],
    buckets: [0.5, 0.8, 0.9, 0.95, 0.99, 1],
    registers,
  })
  return {
    onStrategy({ strategy, predictedMs, actualMs, fellBack }) {
      strategySeconds.observe({ strategy }, actualMs / 1_000)
      if (predictedMs > 0) strategyRatio.observe({ strategy }, actualMs / predictedMs)
      if (fellBack) fallbacks.inc()
    },
    onAnswer({ considered, denied, passedOver, errors, ...answer }) {
      documents.inc({ verdict: 'allowed' }, considered - denied - passedOver - errors)
      documents.inc({ verdict: 'denied' }, denied)
      documents.inc({ verdict: 'passed_over' }, passedOver)
      documents.inc({ verdict: 'error' }, errors)
      checks.inc(answer.checks)
      calls.observe(answer.calls)
      returned.inc(answer.returned)
    },
    onShadow: ({ strategy, recall: found }) => recall.observe({ strategy }, found),
  }
}
