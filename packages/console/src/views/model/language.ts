import { HighlightStyle, StreamLanguage, type StreamParser } from '@codemirror/language'
import { tags } from '@lezer/highlight'

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
export const openfga = StreamLanguage.define(parser)

/** The page's own colours, which follow dark and light. */
export const colours = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--accent)', fontWeight: '600' },
  { tag: tags.operator, color: 'var(--warn)' },
  { tag: tags.comment, color: 'var(--soft)', fontStyle: 'italic' },
  { tag: tags.propertyName, fontWeight: '600' },
  { tag: [tags.typeName, tags.number, tags.string], color: 'var(--code)' },
])
