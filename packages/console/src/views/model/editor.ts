import { defaultKeymap, history, historyKeymap } from '@codemirror/commands'
import { HighlightStyle, StreamLanguage, type StreamParser, syntaxHighlighting } from '@codemirror/language'
import { type Diagnostic, lintKeymap, setDiagnostics } from '@codemirror/lint'
import { EditorState } from '@codemirror/state'
import { drawSelection, EditorView, keymap, lineNumbers } from '@codemirror/view'
import { tags } from '@lezer/highlight'
import type { TextProblem } from '@remit/contract/model'

interface State {
  /** Within a condition, whose body is another language (CEL). */
  inBody: boolean
}

const keywords = /^(model|schema|module|extend|type|relations|define|condition)\b/
const operators = /^(or|and|but not|from|with)\b/

/** OpenFGA's language, as far as colours need it: what is right and what is not the service says. */
const parser: StreamParser<State> = {
  name: 'openfga',
  startState: () => ({ inBody: false }),
  token(stream, state) {
    if (stream.eatSpace()) return null
    // Only after a space: `group#member` is no comment.
    if (/(^|\s)$/.test(stream.string.slice(0, stream.pos)) && stream.match(/^#.*/)) return 'comment'
    if (state.inBody) {
      if (stream.eat('}')) state.inBody = false
      else if (stream.match(/^("[^"]*"|'[^']*')/)) return 'string'
      else stream.next()
      return null
    }
    if (stream.eat('{')) {
      state.inBody = true
      return null
    }
    if (stream.match(keywords)) return 'keyword'
    if (stream.match(operators)) return 'operator'
    if (stream.match(/^[0-9.]+\b/)) return 'number'
    if (stream.eat('[')) return 'bracket'
    if (stream.match(/^[A-Za-z_][\w-]*(?=\s*:(?!\*))/)) return 'propertyName'
    if (stream.match(/^[A-Za-z_][\w-]*(?=(:\*|#))/)) return 'typeName'
    if (stream.match(/^[A-Za-z_][\w-]*/)) return 'variableName'
    stream.next()
    return null
  },
  languageData: { commentTokens: { line: '#' } },
}

/** OpenFGA's modelling language, for highlighting. */
const openfga = StreamLanguage.define(parser)

/** The page's own colours, which follow dark and light. */
const colours = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--accent)', fontWeight: '600' },
  { tag: tags.operator, color: 'var(--warn)' },
  { tag: tags.comment, color: 'var(--soft)', fontStyle: 'italic' },
  { tag: tags.propertyName, fontWeight: '600' },
  { tag: [tags.typeName, tags.number, tags.string], color: 'var(--code)' },
])

/** The model's text in an editor. `destroy` takes it off the page. */
export type Editor = ReturnType<typeof openEditor>

/**
 * The editor, in a chunk of its own. It lives in a shadow root, where its styles need no inline style, which
 * the page's policy refuses. Tab leaves it, as everywhere.
 */
export function openEditor(options: {
  readonly root: ShadowRoot
  readonly text: string
  readonly labelledBy: string
  readonly onChange: (text: string) => void
}) {
  const { root, text, labelledBy, onChange } = options
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: text,
      extensions: [
        lineNumbers(),
        history(),
        drawSelection(),
        openfga,
        syntaxHighlighting(colours),
        keymap.of([...lintKeymap, ...defaultKeymap, ...historyKeymap]),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ 'aria-label': labelledBy, spellcheck: 'false' }),
        EditorView.updateListener.of(({ docChanged, state }) => {
          if (docChanged) onChange(state.doc.toString())
        }),
        theme,
      ],
    }),
  })
  // It scrolls, so that whoever has no mouse can get there.
  view.scrollDOM.tabIndex = 0
  const diagnostic = (problem: TextProblem): Diagnostic => {
    const start = offsetOf(problem.line, problem.column)
    const endOffset = offsetOf(problem.end_line, problem.end_column)
    return { from: start, to: Math.max(start, endOffset), severity: 'error', message: problem.message }
  }
  function offsetOf(line: number, column: number): number {
    const { doc } = view.state
    const { from: lineStart, to: lineEnd } = doc.line(Math.min(Math.max(line, 1), doc.lines))
    return Math.min(lineStart + column - 1, lineEnd)
  }
  return {
    show: (problems: readonly TextProblem[]): void =>
      view.dispatch(setDiagnostics(view.state, problems.map(diagnostic))),
    goTo({ line, column }: TextProblem): void {
      view.dispatch({ selection: { anchor: offsetOf(line, column) }, scrollIntoView: true })
      view.focus()
    },
    destroy: (): void => view.destroy(),
  }
}

// Without the pictures of the package's own style: the page loads none.
const theme = EditorView.theme({
  '&': { fontSize: '0.9rem', maxHeight: '32rem', background: 'var(--card)', color: 'inherit' },
  '&.cm-focused': { outline: '3px solid var(--accent)', outlineOffset: '2px' },
  '.cm-scroller': { overflow: 'auto', fontFamily: 'ui-monospace, monospace', lineHeight: '1.5' },
  '.cm-content': { caretColor: 'currentColor' },
  '.cm-cursor': { borderLeftColor: 'currentColor' },
  '.cm-gutters': { background: 'var(--card)', color: 'var(--soft)', border: 'none' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    background: 'color-mix(in srgb, var(--accent) 30%, transparent)',
  },
  '.cm-lintRange-error': {
    backgroundImage: 'none',
    textDecoration: 'underline wavy var(--bad)',
    textDecorationSkipInk: 'none',
  },
  '.cm-lintPoint-error:after': { borderBottomColor: 'var(--bad)' },
  '.cm-tooltip, .cm-panel': { background: 'var(--card)', color: 'inherit', border: '1px solid var(--line)' },
})
