//! Properties of planning, over random input.
