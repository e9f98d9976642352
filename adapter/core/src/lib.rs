//! Pure core of the adapter: rules, selectors, quantities, store.
