/** What anne may read here: one document that she lends, and one that she is asked for each time. */
export const documents = {
  'handbook/travel': { text: 'Travel budget: 900.', access: { viewers: ['user:anne'] } },
  'handbook/board': {
    text: 'Travel budget of the board.',
    access: { viewers: ['user:anne'], sensitive: true },
  },
}
